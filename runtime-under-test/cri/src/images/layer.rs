//! Layers on disk: one directory per chain id, shared by every image that has the same chain.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

use ruzstd::decoding::StreamingDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::overlay;
use super::unpack::{Bounded, Limits, OfLayer as _, unpack};
use crate::error::{Context as _, Error, Result};
use crate::util;

/// What is kept beside the files of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed tar.
    pub diff_id: String,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Number of entries.
    pub inodes: u64,
}

/// Chain ids of a list of diffIDs (OCI image-spec, config.md, "Layer `ChainID`").
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        let chain = match out.last() {
            None => diff.clone(),
            Some(parent) => format!("sha256:{}", util::hex(&Sha256::digest(format!("{parent} {diff}")))),
        };
        out.push(chain);
    }
    out
}

/// Directory of a layer. Short, because overlayfs takes all of them in one page of options.
pub fn layer_dir(root: &Path, chain: &str) -> PathBuf {
    root.join("layers").join(chain.trim_start_matches("sha256:").chars().take(32).collect::<String>())
}

/// The record of a finished layer.
pub fn read_info(root: &Path, chain: &str) -> Option<LayerInfo> {
    serde_json::from_slice(&std::fs::read(layer_dir(root, chain).join("layer.json")).ok()?).ok()
}

/// Unpacks `blob` as the layer `chain` above `parents` (lowest first) and checks its diffID.
/// Nothing stays if it fails; a finished layer appears by rename.
pub fn install(
    root: &Path,
    chain: &str,
    diff_id: &str,
    parents: &[String],
    blob: &Path,
    limits: &Limits,
) -> Result<LayerInfo> {
    let target = layer_dir(root, chain);
    let scratch = root.join("ingest").join(format!("layer-{}", util::hex(&util::random_bytes::<8>()?)));
    let diff = scratch.join("diff");
    util::make_dir(&diff, 0o755)?;
    let lowers: Vec<PathBuf> =
        parents.iter().rev().map(|parent| layer_dir(root, parent).join("diff")).collect();
    let result = unpack_in_private_mount(&lowers, &scratch, blob, *limits).and_then(|(got, totals)| {
        if got != diff_id {
            return Err(Error::new(
                tonic::Code::DataLoss,
                format!("the layer unpacks to diffID {got} where the image config says {diff_id}; refused"),
            ));
        }
        let info = LayerInfo { diff_id: diff_id.to_owned(), bytes: totals.bytes, inodes: totals.inodes };
        util::write_atomic(
            &scratch.join("layer.json"),
            &serde_json::to_vec(&info).doing("writing a layer record")?,
        )?;
        let _ = std::fs::remove_dir_all(scratch.join("work"));
        match std::fs::rename(&scratch, &target) {
            Ok(()) => Ok(info),
            Err(_) if target.join("layer.json").exists() => Ok(info),
            Err(error) => {
                Err(Error::internal(format!("putting the layer in place at {}: {error}", target.display())))
            }
        }
    });
    let _ = util::remove_dir(&scratch);
    result
}

/// The overlay of the parents is mounted in a thread's own mount namespace: it vanishes with the
/// thread, whatever happens to the server.
fn unpack_in_private_mount(
    lowers: &[PathBuf],
    scratch: &Path,
    blob: &Path,
    limits: Limits,
) -> Result<(String, super::unpack::Totals)> {
    thread::scope(|scope| {
        let job = scope.spawn(|| {
            let mut target = scratch.join("diff");
            if !lowers.is_empty() {
                overlay::private_mount_namespace()?;
                let merged = scratch.join("merged");
                let work = scratch.join("work");
                util::make_dir(&merged, 0o755)?;
                util::make_dir(&work, 0o755)?;
                overlay::mount(lowers, Some((&target, &work)), &merged, false)?;
                target = merged;
            }
            let result = unpack_blob(blob, &target, &limits);
            if !lowers.is_empty() {
                let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
                let _ = std::fs::remove_dir(&target);
            }
            result
        });
        job.join().unwrap_or_else(|_| Err(Error::internal("the unpacking thread failed")))
    })
}

fn unpack_blob(blob: &Path, target: &Path, limits: &Limits) -> Result<(String, super::unpack::Totals)> {
    let file = File::open(blob).with_path("opening", blob)?;
    let compressed = file.metadata().with_path("reading", blob)?.len();
    let stream = decompress(file).of_layer("decompressing the layer")?;
    let mut hashing = Hashing { inner: Bounded::new(stream, limits, compressed), hasher: Sha256::new() };
    let totals = unpack(&mut hashing, target, limits)?;
    // The diffID covers the padding behind the last entry too.
    io::copy(&mut hashing, &mut io::sink()).of_layer("reading the end of the layer")?;
    Ok((format!("sha256:{}", util::hex(&hashing.hasher.finalize())), totals))
}

/// Plain tar, gzip or zstd, told apart by the first bytes.
pub fn decompress(file: File) -> io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(128 << 10, file);
    let magic = reader.fill_buf()?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(Zstd { decoder: Some(new_frame(reader)?) }))
    } else {
        Ok(Box::new(reader))
    }
}

type Frame = StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>;

fn new_frame(reader: BufReader<File>) -> io::Result<Frame> {
    StreamingDecoder::new(reader).map_err(|error| io::Error::other(format!("zstd: {error}")))
}

/// All zstd frames of a file one after the other.
struct Zstd {
    decoder: Option<Frame>,
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = self.decoder.as_mut() else { return Ok(0) };
            let got = decoder.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            let mut rest = self
                .decoder
                .take()
                .map(StreamingDecoder::into_inner)
                .ok_or_else(|| io::Error::other("zstd"))?;
            if !rest.fill_buf()?.is_empty() {
                self.decoder = Some(new_frame(rest)?);
            }
        }
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        Ok(got)
    }
}
