//! Archives that somebody else has built: the same one is the same image anywhere, a hostile one is none, and one command deploys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::image::{ImageBuilder, busybox};
use coord_tests::images::other;
use coord_tests::process::{Place, describe};
use coord_tests::{binaries, wait};

const RECIPE: &str = "base = \"coord.internal/base:1\"\ncommand = [\"/bin/sh\", \"/app/serve.sh\"]\n";

/// A fleet whose centre has a base image.
fn start() -> Result<Fleet> {
    let fleet = Plan::processes(1).start()?;
    let base = ImageBuilder::default().layer(busybox()?)?.env("PATH", "/bin").build()?;
    fleet.push_to_centre(&base, "base:1")?;
    Ok(fleet)
}

/// An application's files, in whatever order and with whatever times and owners they are made.
fn make_app(at: &Path, backwards: bool) -> Result<()> {
    let mut files = vec![("serve.sh", "while true; do sleep 1; done\n"), ("data/a.txt", "a\n"), ("data/b/c.txt", "c\n")];
    if backwards {
        files.reverse();
    }
    for (name, text) in files {
        let path = at.join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        fs::set_permissions(path.parent().context("a folder")?, fs::Permissions::from_mode(0o755))?;
    }
    if backwards {
        other(&["find", &at.to_string_lossy(), "-exec", "chown", "1234:1234", "{}", "+"])?;
        other(&["find", &at.to_string_lossy(), "-exec", "touch", "-d", "2001-02-03", "{}", "+"])?;
    }
    Ok(())
}

/// `coordctl image build`, in another time zone and with another umask on request.
fn build(fleet: &Fleet, archive: &Path, recipe: &Path, repository: &str, elsewhere: bool) -> Result<Output> {
    let program = binaries::path("coordctl")?;
    let (archive, recipe) = (archive.to_string_lossy(), recipe.to_string_lossy());
    let words = [&program, "image", "build", &*archive, "--recipe", &*recipe, "--repository", repository, "-o", "json"];
    let umask = if elsewhere { "umask 077; exec \"$@\"" } else { "exec \"$@\"" };
    let mut command = Place::default().command(&[&["sh", "-c", umask, "build"], &words[..]].concat());
    command.env("COORD_URL", fleet.url()).env("COORD_TOKEN_FILE", fleet.coordinator_folder().join("admin-token"));
    command.env("TZ", if elsewhere { "Asia/Tokyo" } else { "UTC" });
    command.output().context("run coordctl")
}

fn digest(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", describe(output));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(made["digest"].as_str().with_context(|| format!("no digest in {made}"))?.to_owned())
}

#[test]
fn the_same_files_are_the_same_image() -> Result<()> {
    let (one, two) = (start()?, start()?);
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    fs::write(at("image.toml"), RECIPE)?;
    make_app(&at("here/app"), false)?;
    make_app(&at("there/other"), true)?;
    let first = digest(&build(&one, &at("here/app"), &at("image.toml"), "shop", false)?)?;
    let again = digest(&build(&one, &at("there/other"), &at("image.toml"), "shop", true)?)?;
    let elsewhere = digest(&build(&two, &at("there/other"), &at("image.toml"), "other/name", true)?)?;
    assert_eq!((&again, &elsewhere), (&first, &first), "another folder, order, owner, time zone, umask and coordinator");

    // By curl, as any CI has it, of an archive that any tar has made.
    let tar =
        ["tar", "-C", &at("there/other").to_string_lossy(), "-czf", &at("app.tar.gz").to_string_lossy(), "."].map(str::to_owned);
    other(&tar.each_ref().map(String::as_str))?;
    let (archive, recipe) =
        (format!("archive=@{}", at("app.tar.gz").display()), format!("recipe=@{}", at("image.toml").display()));
    let (url, bearer) = (format!("{}/v1/images", one.url()), format!("Authorization: Bearer {}", one.admin_token()?));
    let form = ["-F", &archive, "-F", &recipe, "-F", "repository=shop", "-F", "tag=curl"];
    let made = other(&[&["curl", "-sS", "--noproxy", "*", "-H", &bearer], &form[..], &[&url]].concat())?;
    assert_eq!(digest(&made)?, first);
    Ok(())
}

#[test]
fn hostile_archives_and_recipes_make_nothing() -> Result<()> {
    let fleet = start()?;
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    fs::write(at("image.toml"), RECIPE)?;
    make_app(&at("app"), false)?;
    fs::write(at("no-base.toml"), RECIPE.replace("base:1", "nothing-of-the-kind:1"))?;
    fs::write(at("contradiction.toml"), format!("{RECIPE}entrypoint = []\nworking_dir = \"not/absolute\"\n"))?;
    let script = r#"
import io, sys, tarfile, zipfile
at = sys.argv[1]
def tar(name, *members):
    with tarfile.open(f"{at}/{name}", "w:gz") as out:
        for member, text in members:
            member.size = len(text)
            out.addfile(member, io.BytesIO(text))
def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info
tar("climbs.tar.gz", (member("../../etc/cron.d/x"), b"x"))
tar("absolute.tar.gz", (member("/etc/passwd"), b"x"))
tar("through.tar.gz", (member("a", tarfile.SYMTYPE, "../../../etc"), b""), (member("a/passwd"), b"x"))
tar("device.tar.gz", (member("null", tarfile.CHRTYPE), b""))
tar("hard.tar.gz", (member("shadow", tarfile.LNKTYPE, "../../etc/shadow"), b""))
tar("bomb.tar.gz", (member("zeros"), bytes(600 << 20)))
with zipfile.ZipFile(f"{at}/slip.zip", "w") as out:
    out.writestr("../../etc/cron.d/x", "x")
whole = open(f"{at}/climbs.tar.gz", "rb").read()
open(f"{at}/cut.tar.gz", "wb").write(whole[:len(whole) // 2])
open(f"{at}/noise.tar.gz", "wb").write(b"this is no archive")
"#;
    other(&[coord_tests::source::PYTHON, "-c", script, &dir.path().to_string_lossy()])?;
    let archives = [
        "climbs.tar.gz",
        "absolute.tar.gz",
        "through.tar.gz",
        "device.tar.gz",
        "hard.tar.gz",
        "bomb.tar.gz",
        "slip.zip",
        "cut.tar.gz",
        "noise.tar.gz",
    ];
    let hostile = archives.map(|archive| (archive, "image.toml"));
    for (archive, recipe) in hostile.into_iter().chain([("app", "no-base.toml"), ("app", "contradiction.toml")]) {
        let output = build(&fleet, &at(archive), &at(recipe), "bad", false)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains("error"), "{archive} with {recipe}: {}", describe(&output));
        coord_tests::say(&format!("{archive} with {recipe}: {}", said.lines().next().unwrap_or_default()));
    }
    let tags = fleet.api("GET", "/v2/bad/tags/list", None)?;
    assert_eq!(tags.status, 404, "nothing was made: {}", tags.text());
    // And the next good one is as good as ever.
    digest(&build(&fleet, &at("app"), &at("image.toml"), "good", false)?).map(drop)
}

#[test]
fn one_command_deploys_an_archive() -> Result<()> {
    let fleet = start()?;
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    fs::write(at("image.toml"), RECIPE)?;
    make_app(Path::new(&at("app")), false)?;
    let document = "# Kept as written.\nimage = \"coord.internal/web:latest\"\nhosts = [\"h0\"]\nnetwork = \"none\"\nstop_grace_period = \"1s\"\n";
    fs::write(at("web.toml"), document)?;
    let deploy = |commit: &str| {
        let (app, recipe, document) = (at("app"), at("image.toml"), at("web.toml"));
        let files = ["deploy", "--archive", &app, "--recipe", &recipe, "--document", &document];
        fleet.coordctl(&[&files[..], &["--commit", commit, "--wait", "--timeout", "60s"]].concat())
    };
    let first = "1".repeat(40);
    let output = deploy(&first)?;
    ensure!(output.status.success(), "{}", describe(&output));
    let web = fleet.wait_ready("web", &["h0"])?;
    assert_eq!(web.origin.and_then(|origin| origin.commit).map(|commit| commit.to_string()), Some(first));

    // What cannot be made publishes nothing.
    fs::write(at("image.toml"), RECIPE.replace("base:1", "none:1"))?;
    let output = deploy(&"2".repeat(40))?;
    ensure!(!output.status.success(), "{}", describe(&output));
    assert_eq!(fleet.wait_ready("web", &["h0"])?.revision.map(|revision| revision.0), Some(1));

    fs::write(at("image.toml"), RECIPE)?;
    fs::write(at("app/serve.sh"), "echo second; while true; do sleep 1; done\n")?;
    let output = deploy(&"3".repeat(40))?;
    ensure!(output.status.success(), "{}", describe(&output));
    fleet.wait_revision("web", 2)?;
    wait::wait_until(coord_tests::fleet::FLEET_LIMIT, "the second version runs", || {
        fleet.log_lines(0, "web.0").is_ok_and(|lines| lines.iter().any(|line| line.m == "second"))
    })
}
