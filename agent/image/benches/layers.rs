//! How long it takes to read a layer, and to make one tree of an image's layers: what a pull pays per entry, and a redeploy in all.
//!
//! ```sh
//! cargo bench -p coord-image --features fuzzing
//! COORD_BENCH_TARS=/folder/of/one/image cargo bench -p coord-image --features fuzzing    # 0.tar, 1.tar ... bottom first
//! ```
//! Hashing, inflating and writing are not in it. The layers that it makes up have 61,000 files of a few bytes in 610 folders.

use coord_image::fuzzing::{Layer, merge};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const FOLDERS: usize = 610;
const FILES_PER_FOLDER: usize = 100;

criterion_group!(benches, layers);
criterion_main!(benches);

fn layers(criterion: &mut Criterion) {
    let archives = archives();
    let trees: Vec<Layer> = archives.iter().map(|archive| read(archive)).collect();
    let indexes: Vec<Vec<u8>> = trees.iter().map(Layer::encode).collect();
    let names = trees.iter().map(Layer::names).sum::<usize>();
    let mut group = criterion.benchmark_group(format!("{} layers with {names} names", archives.len()));
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    group.throughput(Throughput::Elements(names as u64));
    group.bench_function("read the archives", |bench| {
        bench.iter(|| archives.iter().map(|archive| read(archive).names()).sum::<usize>());
    });
    group.bench_function("encode the indexes", |bench| {
        bench.iter(|| trees.iter().map(|tree| tree.encode().len()).sum::<usize>());
    });
    group.bench_function("decode the indexes", |bench| {
        bench.iter(|| indexes.iter().map(|index| decode(index).names()).sum::<usize>());
    });
    group.bench_function("merge the trees", |bench| bench.iter(|| merge(black_box(&trees))));
    group.bench_function("decode the indexes and merge the trees", |bench| {
        bench.iter_batched(
            || (),
            |()| merge(&indexes.iter().map(|index| decode(index)).collect::<Vec<_>>()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn read(archive: &[u8]) -> Layer {
    Layer::read(archive).expect("the archive is a layer")
}

fn decode(index: &[u8]) -> Layer {
    Layer::decode(index).expect("the index was just made")
}

/// Of an image on the disk, or made up.
fn archives() -> Vec<Vec<u8>> {
    let Ok(folder) = std::env::var("COORD_BENCH_TARS") else { return vec![many_files(), one_more()] };
    let read = |number: u32| std::fs::read(format!("{folder}/{number}.tar")).ok();
    let archives: Vec<Vec<u8>> = (0..).map_while(read).collect();
    assert!(!archives.is_empty(), "{folder} has no 0.tar");
    archives
}

fn many_files() -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in 0..FOLDERS {
        let folder = format!("usr/share/folder-{folder:03}");
        entry(&mut archive, &format!("{folder}/"), b'5', b"");
        for file in 0..FILES_PER_FOLDER {
            entry(&mut archive, &format!("{folder}/some-file-{file:02}.txt"), b'0', b"a few bytes");
        }
    }
    archive
}

fn one_more() -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, "usr/share/folder-007/some-file-07.txt", b'0', b"others");
    archive
}

fn entry(archive: &mut Vec<u8>, path: &str, flag: u8, content: &[u8]) {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{:011o}", content.len()).as_bytes());
    put(136, b"14524770400");
    put(148, b"        ");
    put(156, &[flag]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend_from_slice(&block);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
