//! What an image says of itself: config, manifest and provenance (OCI image spec 1.1, config.md, manifest.md, annotations.md). Pure.

use super::Assembly;
use super::base::Base;
use super::layer::MadeLayer;
use coord_centre::OCI_MANIFEST;
use coord_shared::document::{Healthcheck, Probe};
use coord_shared::names::Digest;
use coord_shared::quantity::Span;
use coord_shared::recipe::Recipe;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Media type of a config.
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// What a manifest that needs no config has instead (image spec, manifest.md, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The content of that.
pub(super) const EMPTY: &[u8] = b"{}";
/// What a provenance record is.
const PROVENANCE_TYPE: &str = "application/vnd.coord.provenance.v1+json";
/// Labels and annotations that are about one image, and not about those built on it.
const ABOUT_IMAGE: &str = "org.opencontainers.image.";

/// Where an image runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
}

/// What is known of where an image comes from, by the names of the spec's annotations.
pub(super) fn about(assembly: &Assembly, base: Option<&Base>) -> BTreeMap<String, String> {
    let at = whole_seconds(assembly.at);
    let known = [
        ("created", Some(at)),
        ("source", assembly.source.clone()),
        ("revision", assembly.commit.as_ref().map(ToString::to_string)),
        ("base.name", base.map(|base| base.name.clone())),
        ("base.digest", base.map(|base| base.manifest.to_string())),
    ];
    known.into_iter().filter_map(|(key, value)| Some((format!("{ABOUT_IMAGE}{key}"), value?))).collect()
}

/// The config: the base's, with what the recipe says.
pub(super) fn config(
    base: Option<&Base>,
    recipe: &Recipe,
    platform: &Platform,
    layer: &MadeLayer,
    about: &BTreeMap<String, String>,
    at: Timestamp,
) -> Value {
    let empty = Value::Null;
    let old = base.map_or(&empty, |base| &base.config);
    let mut new = Map::new();
    for key in ["os.version", "os.features", "author", "variant"] {
        if let Some(value) = old.get(key).filter(|value| !value.is_null()) {
            new.insert(key.to_owned(), value.clone());
        }
    }
    if let (None, Some(variant)) = (base, &platform.variant) {
        new.insert("variant".to_owned(), json!(variant));
    }
    let at = whole_seconds(at);
    new.insert("os".to_owned(), json!("linux"));
    new.insert("architecture".to_owned(), json!(platform.architecture));
    new.insert("created".to_owned(), json!(at));
    new.insert("config".to_owned(), Value::Object(run_config(old.get("config"), recipe, about)));
    let mut diff_ids = list(old.pointer("/rootfs/diff_ids"));
    let mut history = list(old.get("history"));
    // A base that has layers and no history would have the wrong one with ours alone.
    if diff_ids.is_empty() || !history.is_empty() {
        let by = format!("coord image: the archive's files into {}", recipe.target);
        history.push(json!({ "created": at, "created_by": by }));
    }
    diff_ids.push(json!(layer.layer.diff_id));
    new.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
    if !history.is_empty() {
        new.insert("history".to_owned(), Value::Array(history));
    }
    Value::Object(new)
}

/// How containers of it run, by the rules of Docker's builder.
fn run_config(old: Option<&Value>, recipe: &Recipe, about: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut new = old.and_then(Value::as_object).cloned().unwrap_or_default();
    // Of the container that Docker once made the base in, and nobody's business.
    for key in [
        "Hostname",
        "Domainname",
        "Image",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "OnBuild",
    ] {
        new.remove(key);
    }
    new.retain(|_, value| !value.is_null());
    if let Some(entrypoint) = &recipe.entrypoint {
        new.insert("Entrypoint".to_owned(), json!(entrypoint));
        new.remove("Cmd");
    }
    let given = [
        ("Cmd", recipe.command.as_ref().map(|command| json!(command))),
        ("WorkingDir", recipe.working_dir.as_ref().map(|folder| json!(folder))),
        ("User", recipe.user.as_ref().map(|user| json!(user))),
        ("StopSignal", recipe.stop_signal.map(|signal| json!(signal.to_string()))),
        ("Healthcheck", recipe.healthcheck.as_ref().and_then(healthcheck)),
    ];
    new.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let environment = environment(new.get("Env"), &recipe.environment);
    insert_filled(&mut new, "Env", Value::Array(environment));
    let mut ports = table(new.get("ExposedPorts"));
    ports.extend(recipe.expose.iter().map(|port| (format!("{}/{}", port.port, port.protocol), json!({}))));
    insert_filled(&mut new, "ExposedPorts", Value::Object(ports));
    let mut volumes = table(new.get("Volumes"));
    volumes.extend(recipe.volumes.iter().map(|volume| (volume.clone(), json!({}))));
    insert_filled(&mut new, "Volumes", Value::Object(volumes));
    let mut labels = table(new.get("Labels"));
    labels.retain(|key, _| !key.starts_with(ABOUT_IMAGE));
    labels.extend(about.iter().chain(&recipe.labels).map(|(key, value)| (key.clone(), json!(value))));
    insert_filled(&mut new, "Labels", Value::Object(labels));
    new
}

/// A variable that the base has keeps its place; new ones follow.
fn environment(old: Option<&Value>, added: &BTreeMap<String, String>) -> Vec<Value> {
    let mut added = added.clone();
    let mut all: Vec<Value> = list(old);
    for variable in &mut all {
        let name = variable.as_str().and_then(|text| text.split_once('=')).map(|(name, _)| name.to_owned());
        if let Some((name, value)) = name.and_then(|name| added.remove_entry(&name)) {
            *variable = json!(format!("{name}={value}"));
        }
    }
    all.extend(added.into_iter().map(|(name, value)| json!(format!("{name}={value}"))));
    all
}

/// In Docker's words, which OCI leaves out and every engine reads. None for a check over the network, which no image can ask for.
fn healthcheck(check: &Healthcheck) -> Option<Value> {
    if check.disable {
        return Some(json!({ "Test": ["NONE"] }));
    }
    let mut new = Map::new();
    match &check.probe {
        None => {}
        Some(Probe::Exec(command)) => {
            let test: Vec<&str> = std::iter::once("CMD").chain(command.iter().map(String::as_str)).collect();
            new.insert("Test".to_owned(), json!(test));
        }
        Some(Probe::Http { .. } | Probe::Tcp { .. }) => return None,
    }
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    let nanoseconds = |Span(span)| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    new.extend(times.into_iter().filter_map(|(key, span)| Some((key.to_owned(), json!(nanoseconds(span?))))));
    new.extend(check.retries.map(|retries| ("Retries".to_owned(), json!(retries))));
    (!new.is_empty()).then_some(Value::Object(new))
}

/// The manifest.
pub(super) fn manifest(base: Option<&Base>, config: &[u8], layer: &MadeLayer, about: &BTreeMap<String, String>) -> Value {
    let below = base.map(|base| base.layers.as_slice()).unwrap_or_default();
    let mut layers: Vec<Value> = below.iter().map(|layer| descriptor(&layer.media_type, &layer.digest, layer.bytes)).collect();
    layers.push(descriptor(coord_archive::Layer::MEDIA_TYPE, &layer.layer.digest, layer.layer.bytes));
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": of_bytes(CONFIG_TYPE, config),
        "layers": layers,
        "annotations": about,
    })
}

/// Who made the image of what. Says nothing that would be another thing the next time.
pub(super) fn provenance(assembly: &Assembly, base: Option<&Base>, image: &Digest, layer: &MadeLayer) -> Value {
    json!({
        "image": image,
        "repository": assembly.repository,
        "who": assembly.who,
        "run": assembly.run,
        "commit": assembly.commit,
        "source": assembly.source,
        "at": whole_seconds(assembly.at),
        "archive": { "digest": layer.archive, "bytes": layer.archive_bytes },
        "layer": { "digest": layer.layer.digest, "diff_id": layer.layer.diff_id, "entries": layer.layer.entries },
        "base": base.map(|base| json!({ "name": base.name, "digest": base.digest, "manifest": base.manifest })),
        "recipe": assembly.recipe,
    })
}

/// The manifest that refers from a provenance record to its image.
pub(super) fn provenance_manifest(record: &[u8], image: &[u8], about: &BTreeMap<String, String>) -> Value {
    let created = format!("{ABOUT_IMAGE}created");
    let annotations: BTreeMap<&String, &String> = about.iter().filter(|(key, _)| **key == created).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": PROVENANCE_TYPE,
        "config": of_bytes(EMPTY_TYPE, EMPTY),
        "layers": [of_bytes(PROVENANCE_TYPE, record)],
        "subject": of_bytes(OCI_MANIFEST, image),
        "annotations": annotations,
    })
}

fn of_bytes(media_type: &str, bytes: &[u8]) -> Value {
    descriptor(media_type, &Digest::of(bytes), bytes.len() as u64)
}

fn descriptor(media_type: &str, digest: &Digest, bytes: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": bytes })
}

/// As the layer's files have it: what is finer is nobody's.
fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn insert_filled(map: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if is_empty {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), value);
    }
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn table(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
