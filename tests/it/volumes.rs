//! Volumes with real containers: they outlive what uses them, and only a person deletes one.

use anyhow::{Context as _, Result};
use coord_tests::image::entry::{Kind, entry};
use coord_tests::image::{Layer, web};
use coord_tests::lone::{LONE_LIMIT, LoneHost};
use coord_tests::wait::wait_until;
use serde_json::{Value, json};

/// Who owns what the image has at `/data`.
const OWNER: &str = "1000";

/// An image that has something at `/data`, and declares a volume at `/declared`.
fn start() -> Result<(LoneHost, String)> {
    let mut host = LoneHost::new()?;
    host.start_agent()?;
    let seed = entry("data/seed", 0o640, Kind::File(b"seed\n")).owner(1000, 1000);
    let image = web::builder("1")?.layer(Layer::default().with(&seed))?.with("Volumes", json!({ "/declared": {} })).build()?;
    let reference = host.push(&image, "volumes")?;
    Ok((host, reference))
}

/// A document whose container runs `script` and stays.
fn document(image: &str, script: &str, keys: &str) -> String {
    format!(
        "image = \"{image}\"\ncommand = [\"sh\", \"-c\", '''{script}; exec sleep 100000''']\nstop_signal = \"SIGKILL\"\n{keys}\n"
    )
}

fn wait_message(host: &LoneHost, instance: &str, message: &str) -> Result<()> {
    let says = || host.messages(instance).iter().any(|line| line == message);
    let waited = wait_until(LONE_LIMIT, &format!("{instance} says {message:?}"), says);
    waited.with_context(|| format!("it says {:?}; {}", host.messages(instance), host.agent_log()))
}

fn volumes(host: &LoneHost) -> Result<Vec<Value>> {
    let listed: Value = serde_json::from_str(&host.ok(&["volumes", "ls", "-o", "json"])?)?;
    Ok(listed["volumes"].as_array().cloned().unwrap_or_default())
}

fn names(host: &LoneHost) -> Result<Vec<String>> {
    Ok(volumes(host)?.iter().filter_map(|volume| volume["name"].as_str()).map(str::to_owned).collect())
}

const COUNT: &str =
    "echo x >> /data/log; echo count $(wc -l < /data/log); cat /data/seed; echo owner $(stat -c %u:%a /data/seed)";

#[test]
fn a_volume_outlives_its_containers() -> Result<()> {
    let (mut host, image) = start()?;
    let keys = "volumes = [\"data:/data\", \"/own\"]";
    host.write("one", &document(&image, COUNT, keys))?;
    wait_message(&host, "one.0", "count 1")?;
    // What the image has there was copied, with its owner.
    wait_message(&host, "one.0", "seed")?;
    wait_message(&host, "one.0", &format!("owner {OWNER}:640"))?;
    // Its own and the image's volume are the instance's alone, and are kept when it is replaced.
    let before = names(&host)?;
    assert_eq!(before.len(), 3, "{before:?}");
    host.write("one", &document(&image, COUNT, &format!("{keys}\nlabels = {{ changed = true }}")))?;
    wait_message(&host, "one.0", "count 2")?;
    assert_eq!(names(&host)?, before);
    // Another instance has the same one.
    host.write("two", &document(&image, COUNT, "volumes = [\"data:/data\"]"))?;
    wait_message(&host, "two.0", "count 3")?;
    let used_by = |host: &LoneHost| -> Result<usize> {
        let all = volumes(host)?;
        let data = all.iter().find(|volume| volume["name"] == "data");
        Ok(data.and_then(|volume| volume["used_by"].as_array()).map_or(0, Vec::len))
    };
    wait_until(LONE_LIMIT, "two containers use it", || used_by(&host).is_ok_and(|count| count == 2))?;

    let refused = host.ok(&["volumes", "rm", "data"]).expect_err("in use").to_string();
    assert!(refused.contains("volume data is used by one.0-") && refused.contains("hint:"), "{refused}");
    // A container needs no agent, and neither does the refusal.
    host.stop_agent()?;
    let refused = host.ok(&["volumes", "rm", "data"]).expect_err("in use").to_string();
    assert!(refused.contains("volume data is used by one.0-"), "{refused}");
    host.start_agent()?;

    host.delete("one")?;
    host.delete("two")?;
    host.wait_empty()?;
    assert_eq!(host.ok(&["volumes", "rm", "data"])?, "data\n");
    let left = names(&host)?;
    assert!(left.len() == 3 && left.iter().all(|name| name.starts_with("one.0.") || name.starts_with("two.0.")), "{left:?}");
    // Without an agent, too.
    host.stop_agent()?;
    let line: Vec<&str> = ["volumes", "rm"].into_iter().chain(left.iter().map(String::as_str)).collect();
    host.ok(&line)?;
    assert_eq!(std::fs::read_dir(host.path("state/volumes"))?.count(), 0);
    Ok(())
}

#[test]
fn what_is_to_be_mounted_is_looked_for_before_the_start() -> Result<()> {
    let (host, image) = start()?;
    let folder = host.path("shown");
    let keys = format!("volumes = [\"{}:/shown:ro\"]\ntmpfs = \"/t:size=1m,mode=0700\"", folder.display());
    let script = "cat /shown/file; echo x > /shown/file || echo refused; echo mode $(stat -c %a /t)";
    host.write("web", &document(&image, script, &keys))?;
    let report = || host.ok(&["ps", "-o", "json"]).unwrap_or_default();
    wait_until(LONE_LIMIT, "the missing folder is the reason", || report().contains("is not on this host; make it"))?;
    assert!(!folder.exists(), "nobody made it");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("file"), "shown\n")?;
    wait_message(&host, "web.0", "shown")?;
    wait_message(&host, "web.0", "refused")?;
    wait_message(&host, "web.0", "mode 700")?;
    assert_eq!(std::fs::read_to_string(folder.join("file"))?, "shown\n");
    Ok(())
}
