//! Facts of the machine, for the report.

use coord_image::ImageStore;
use coord_shared::wire::HostFacts;
use std::path::Path;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Looks at the machine. `state_dir` chooses the file system whose room is told. Reads a handful of files and the images' records;
/// no process list.
pub fn collect(state_dir: &Path, images: &ImageStore) -> HostFacts {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok();
    let disk = rustix::fs::statvfs(state_dir).ok();
    let disk_bytes =
        |blocks: fn(&rustix::fs::StatVfs) -> u64| disk.as_ref().map_or(0, |disk| blocks(disk).saturating_mul(disk.f_frsize));
    HostFacts {
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        architecture: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        memory_total_bytes: system.as_ref().map_or(0, System::total_memory),
        memory_used_bytes: system.as_ref().map_or(0, System::used_memory),
        disk_total_bytes: disk_bytes(|disk| disk.f_blocks),
        disk_free_bytes: disk_bytes(|disk| disk.f_bavail),
        images_bytes: images.usage().map_or(0, |usage| usage.store_bytes),
        image_format: if images.host().backing.is_some() { "erofs" } else { "directories" }.to_owned(),
        load_one: System::load_average().map_or(0.0, |load| load.one),
        booted_at: System::boot_time().ok().and_then(|second| jiff::Timestamp::from_second(second.cast_signed()).ok()),
    }
}

/// The room on the file system of `state_dir`, in bytes; zero where it cannot be told.
pub fn disk_free_bytes(state_dir: &Path) -> u64 {
    rustix::fs::statvfs(state_dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
