//! An authority and a server certificate for one test, made by `openssl` as an operator would make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::describe;

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    /// For one IP address, valid for a day, in `dir`.
    pub fn create(dir: &Path, address: &str) -> Result<Tls> {
        const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let ca = ["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=test authority"];
        openssl(dir, &[&ca, EC.as_slice(), &["-keyout", "ca.key", "-out", "ca.pem"]].concat())?;
        let request = ["req", "-new", "-nodes", "-subj", "/CN=coordinator"];
        openssl(dir, &[&request, EC.as_slice(), &["-keyout", "key.pem", "-out", "csr"]].concat())?;
        let extensions = format!("subjectAltName=IP:{address}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(dir.join("extensions"), extensions)?;
        let sign = ["x509", "-req", "-days", "1", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let out = ["-CAcreateserial", "-extfile", "extensions", "-out", "cert.pem"];
        openssl(dir, &[sign.as_slice(), out.as_slice()].concat())?;
        let file = |name| dir.join(name);
        Ok(Tls { ca: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") })
    }
}

fn openssl(dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("openssl").args(args).current_dir(dir).output();
    let output = output.context("run openssl (is it installed?)")?;
    if !output.status.success() {
        bail!("openssl {}: {}", args.join(" "), describe(&output));
    }
    Ok(())
}
