//! What a machine boots: the kernel as a flat image, and the programs in an archive.

use crate::toolchain::Compiler;
use crate::{elf, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files one build made.
#[derive(Clone, Debug)]
pub struct Images {
    /// The top folder of the checkout they were built from.
    pub root: PathBuf,
    /// Whether the kernel holds the in-kernel tests.
    pub ktest: bool,
    /// The kernel's ELF file: symbols and line numbers.
    pub elf: PathBuf,
    /// The kernel as the arm64 boot protocol wants it.
    pub image: PathBuf,
    /// The programs, by name.
    pub programs: BTreeMap<String, PathBuf>,
    /// The archive with every program at `bin/NAME`.
    pub initramfs: PathBuf,
}

/// The hypervisor's files.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// Its ELF file: symbols and line numbers.
    pub elf: PathBuf,
    /// It, as the arm64 boot protocol wants it.
    pub image: PathBuf,
}

impl Hypervisor {
    /// Builds it, as [`Images::build`] does the kernel.
    pub fn build() -> Result<Hypervisor> {
        let root = workspace::root()?;
        let folder = build_folder(&root)?;
        let _lock = lock(&folder)?;
        let mut hyp = compiler(&root)?.cargo(&root, "build");
        hyp.args(["--package", "hyp", "--features=el2", "--bin", "hyp"]);
        let built = executables(&mut hyp)?;
        let bytes = read(built.get("hyp").context("cargo built no program `hyp`")?)?;
        let hyp = folder.join("hyp");
        let (elf, image) = (hyp.join("hyp"), hyp.join("Image"));
        workspace::write(&image, &elf::flatten(&bytes).context("the hypervisor cannot be made a boot image")?)?;
        workspace::write(&elf, &bytes)?;
        Ok(Hypervisor { elf, image })
    }
}

impl Images {
    /// Builds the kernel, with the in-kernel tests when `ktest` says so, and the programs. Cargo tells on standard error
    /// what it does. A second build, from another thread or process, waits for the first.
    pub fn build(ktest: bool) -> Result<Images> {
        let root = workspace::root()?;
        let folder = build_folder(&root)?;
        // Both kernels have one name in cargo's folder: nobody may build between here and the copy.
        let _lock = lock(&folder)?;

        let compiler = compiler(&root)?;
        let mut kernel = compiler.cargo(&root, "build");
        kernel.args(["--package", "kernel"]).args(ktest.then_some("--features=ktest"));
        let built = executables(&mut kernel)?;
        let bytes = read(built.get("kernel").context("cargo built no program `kernel`")?)?;
        let kernel = folder.join(if ktest { "ktest" } else { "kernel" });
        let (elf, image) = (kernel.join("kernel"), kernel.join("Image"));
        workspace::write(&image, &elf::flatten(&bytes).context("the kernel cannot be made a boot image")?)?;
        workspace::write(&elf, &bytes)?;

        let programs = executables(compiler.cargo(&root, "build").args(["--package", "user"]))?;
        let initramfs = folder.join("initramfs.tar");
        workspace::write(&initramfs, &archive(&programs, None)?)?;
        Ok(Images { root, ktest, elf, image, programs, initramfs })
    }

    /// An archive with the programs and with the host's ELF file at `program`, and that file's path in the archive.
    pub fn with_host_program(&self, program: &Path) -> Result<(PathBuf, String)> {
        let name = program.file_name().and_then(|name| name.to_str());
        let inside = format!("exec/{}", name.with_context(|| format!("{} has no name in UTF-8", program.display()))?);
        let bytes = archive(&self.programs, Some((&inside, &elf::read_program(program)?)))?;
        // Machines that run at the same time may differ in it, so its content names it.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let path = self.initramfs.with_file_name(format!("exec-{:016x}.tar", hasher.finish()));
        workspace::write(&path, &bytes)?;
        Ok((path, inside))
    }
}

/// The small guests that the hypervisor's tests run (`tests/guest`): ELF files by name.
pub fn guests() -> Result<BTreeMap<String, PathBuf>> {
    let root = workspace::root()?;
    executables(compiler(&root)?.cargo(&root, "build").args(["--package", "guest"]))
}

/// The folder for what is built.
fn build_folder(root: &Path) -> Result<PathBuf> {
    let folder = workspace::target_dir(root).join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn compiler(root: &Path) -> Result<Compiler> {
    Compiler::find(root)?.context("there is no compiler for the Arm target; `cargo xtask setup` brings one")
}

/// Waits until nobody else builds; it lasts as long as the file is open.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let lock = || -> io::Result<File> {
        let file = File::create(&path)?;
        if file.try_lock().is_err() {
            eprintln!("xtask: waiting for another build");
            file.lock()?;
        }
        Ok(file)
    };
    lock().with_context(|| format!("{} cannot be locked", path.display()))
}

/// Runs a cargo build and gives the executables it made, by name.
fn executables(build: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    build.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = build.output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the build failed: its errors are above");
    }
    let messages = output.stdout.split(|&byte| byte == b'\n');
    Ok(messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let path = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_string(), path.into()))
        })
        .collect())
}

/// A ustar archive of `programs` at `bin/NAME`, and of one more file.
fn archive(programs: &BTreeMap<String, PathBuf>, more: Option<(&str, &[u8])>) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    for (name, path) in programs {
        let program = elf::strip(&read(path)?).with_context(|| format!("{} is no program", path.display()))?;
        files.push((format!("bin/{name}"), program));
    }
    files.extend(more.map(|(path, bytes)| (path.to_string(), bytes.to_vec())));
    ustar(&files)
}

/// A ustar archive of files by name. The same files give the same bytes.
pub fn ustar(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let appended = archive.append_data(&mut header, path, &bytes[..]);
        appended.with_context(|| format!("{path} does not fit into the archive"))?;
    }
    Ok(archive.into_inner()?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_archive_is_ustar_and_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let programs: BTreeMap<_, _> = ["hello", "init"]
            .map(|name| {
                let path = folder.path().join(name);
                fs::write(&path, elf::tests::elf(2, 183, &[(1, 0x1000, name.as_bytes())])).unwrap();
                (name.to_string(), path)
            })
            .into();
        let bytes = archive(&programs, Some(("exec/a b", b"mine"))).unwrap();
        assert_eq!(bytes, archive(&programs, Some(("exec/a b", b"mine"))).unwrap());
        assert_eq!(&bytes[257..263], b"ustar\0");
        let mut reader = tar::Archive::new(&bytes[..]);
        let files = reader.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        let content = |name: &str| fs::read(&programs[name]).unwrap();
        let expected = [("bin/hello", content("hello")), ("bin/init", content("init")), ("exec/a b", b"mine".to_vec())];
        assert!(files.eq(expected.map(|(path, content)| (path.to_string(), content))));
    }
}
