//! The store's words as bodies.

use super::{Finding, HealthcheckRow, ImageDetails, ImageRow, LayerRow, Uses};
use coord_image::{Format, Healthcheck, ImageSummary, LayerDetails, Object};
use coord_shared::names::InstanceId;
use jiff::Timestamp;
use std::time::Duration;

pub(super) fn row(summary: ImageSummary, uses: &Uses) -> ImageRow {
    let ImageSummary { digest, references, layers, content_bytes, disk_bytes, shared_bytes, last_used, format, mounted } =
        summary;
    let used_by = uses.get(&digest).into_iter().flatten().map(InstanceId::to_string).collect();
    let (last_used, format) = (Timestamp::try_from(last_used).ok(), name(format));
    ImageRow { digest, references, layers, content_bytes, disk_bytes, shared_bytes, last_used, format, mounted, used_by }
}

pub(super) fn details(details: coord_image::ImageDetails, uses: &Uses) -> ImageDetails {
    let coord_image::ImageDetails { summary, config, annotations, healthcheck, download_bytes, layers } = details;
    ImageDetails {
        row: row(summary, uses),
        download_bytes,
        layer_details: layers.into_iter().map(layer).collect(),
        annotations,
        healthcheck: healthcheck.map(check),
        // A config that came from JSON goes back into it.
        config: serde_json::to_value(config).unwrap_or_default(),
    }
}

pub(super) fn finding(finding: coord_image::Finding) -> Finding {
    let text = finding.to_string();
    let coord_image::Finding { object, images, problem, is_repaired } = finding;
    let (kind, digest) = match object {
        Object::Image(digest) => ("image", digest),
        Object::Layer(digest) => ("layer", digest),
        Object::Chain(digest) => ("chain", digest),
    };
    Finding { kind: kind.to_owned(), digest, images, problem, is_repaired, text }
}

fn layer(layer: LayerDetails) -> LayerRow {
    let LayerDetails { diff_id, archive_bytes, entries, content_bytes, disk_bytes, left_out, format } = layer;
    LayerRow { diff_id, archive_bytes, entries, content_bytes, disk_bytes, left_out, format: name(format) }
}

fn check(check: Healthcheck) -> HealthcheckRow {
    let Healthcheck { command, interval, timeout, start_period, start_interval, retries } = check;
    let seconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
    HealthcheckRow {
        command,
        interval_s: seconds(interval),
        timeout_s: seconds(timeout),
        start_period_s: seconds(start_period),
        start_interval_s: seconds(start_interval),
        retries,
    }
}

fn name(format: Format) -> String {
    if format == Format::Directory { "directory" } else { "archive" }.to_owned()
}
