//! What is sent, without anybody to send it to.

use super::*;
use clap::Parser;

/// The fields of a command line, whose recipe is this text.
fn check(flags: &[&str], recipe: &str) -> Result<String, String> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        image: ImageOfArchiveArgs,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.toml");
    std::fs::write(&path, recipe).unwrap();
    let line = ["x", "--recipe", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
    let args = Line::try_parse_from(line).unwrap().image;
    let fields = fields(&args, &"shop".parse().unwrap(), &Output::new()).map_err(|failure| failure.message)?;
    Ok(fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_is_said_is_sent() {
    assert_eq!(check(&[], "").unwrap(), "recipe= repository=shop");
    let commit = "a1".repeat(20);
    let expect = format!("recipe= repository=shop tag=a1a1a1a1a1a1 commit={commit} at=5");
    assert_eq!(check(&["--commit", &commit, "--at", "5"], "").unwrap(), expect);
    let expect =
        format!("recipe= repository=shop tag=1.2 tag=1 platform=linux/arm64 commit={commit} source=https://git.lan/shop");
    let flags =
        ["--tag", "1.2", "--tag", "1", "--commit", &commit, "--source", "https://git.lan/shop", "--platform", "linux/arm64"];
    assert_eq!(check(&flags, "").unwrap(), expect);
}

#[test]
fn a_bad_recipe_is_not_sent() {
    assert!(check(&[], "entrypont = []\n").unwrap_err().ends_with("image.toml cannot be used; nothing was sent"));
}

#[test]
fn a_folder_is_packed_whole_but_for_what_is_excluded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    std::fs::write(folder.path().join("shop"), "x").unwrap();
    std::fs::write(folder.path().join("logs/old"), "y").unwrap();
    let path = folder.path().to_owned();
    let (_, all) = pack_folder(&path, &[]).unwrap();
    let (mut file, less) = pack_folder(&path, &["logs".to_owned()]).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, less);
    assert!(less < all);
    assert!(pack_folder(&path, &["/etc".to_owned()]).is_err());
}
