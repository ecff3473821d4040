//! A Linux: Debian's kernel for arm64. With an initramfs around its static busybox it is a guest of the hypervisor; on the bare
//! machine ([`run`]) it runs what our own kernel runs, so that the two can be compared.
//!
//! Kernel and busybox come as packages, by a set-up of apt's own (its lists, its cache, nothing installed), so that neither root
//! nor a second architecture of the system is needed; where from, the system's configuration says.

use crate::images::Images;
use crate::machine::{Config, Outcome, hardware, keep, push_arguments, watch_command};
use crate::tool;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What a guest runs first.
const INIT: &[u8] = include_bytes!("linux.sh");

/// Boot arguments of a guest when nothing else is said.
pub const APPEND: &str = "console=ttyAMA0";
/// Its RAM when nothing else is said, in MiB.
pub const MEM: u32 = 256;

/// Kernels, the one preferred first: that for virtual machines is a third as large.
const KERNELS: [&str; 2] = ["linux-image-cloud-arm64", "linux-image-arm64"];
const BUSYBOX: &str = "busybox-static";

/// The variable that names another folder for the files.
pub const FOLDER: &str = "LINUX";

/// The files of a Linux, in the target folder, or in the one that [`FOLDER`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linux {
    /// Where they are, or would be.
    pub folder: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs, which is made when a machine is.
    pub initramfs: PathBuf,
    busybox: PathBuf,
}

impl Linux {
    /// That of a checkout.
    pub fn new(root: &Path) -> Linux {
        let folder = env::var_os(FOLDER).map_or_else(|| workspace::target_dir(root).join("linux"), PathBuf::from);
        let file = |name| folder.join(name);
        Linux { kernel: file("vmlinuz"), initramfs: file("initramfs.cpio"), busybox: file("busybox"), folder }
    }

    /// Whether the kernel and busybox are there.
    pub fn is_there(&self) -> bool {
        self.kernel.is_file() && self.busybox.is_file()
    }

    /// Makes the initramfs.
    pub fn make_initramfs(&self) -> Result<()> {
        let busybox = fs::read(&self.busybox).with_context(|| format!("{} cannot be read", self.busybox.display()))?;
        workspace::write(&self.initramfs, &guest_initramfs(&busybox)?)
    }

    /// Brings the kernel and busybox, by apt.
    pub fn bring(&self) -> Result<()> {
        for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
            ensure!(
                which::which(tool).is_ok(),
                "there is no {tool} here to bring a Linux with; name a folder with an arm64 kernel, vmlinuz, and a static \
                 busybox for it in the variable {FOLDER}"
            );
        }
        let apt = Apt::new(&self.folder)?;
        // One list of packages that cannot be had now need not be the one that matters.
        if let Err(error) = tool::run(&mut apt.command("apt-get", &["update"])) {
            eprintln!("xtask: {error:#}; going on");
        }
        let kernel = KERNELS.iter().find_map(|name| apt.dependency(name, "linux-image-"));
        let kernel = kernel.with_context(|| {
            format!("the system's sources of packages have none of {} for arm64", KERNELS.join(", "))
        })?;
        let unpacked = apt.unpack(&kernel)?;
        let boot = fs::read_dir(unpacked.join("boot")).with_context(|| format!("{kernel} has no folder boot"))?;
        let vmlinuz = boot.flatten().find(|file| file.file_name().to_string_lossy().starts_with("vmlinuz"));
        let vmlinuz = vmlinuz.with_context(|| format!("{kernel} has no vmlinuz"))?.path();
        let busybox = apt.unpack(BUSYBOX)?.join("bin/busybox");
        for (from, to) in [(&vmlinuz, &self.kernel), (&busybox, &self.busybox)] {
            let bytes = fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
            workspace::write(to, &bytes)?;
        }
        fs::remove_dir_all(&apt.folder).with_context(|| format!("{} cannot be removed", apt.folder.display()))
    }
}

/// An apt that knows of arm64 only and keeps everything in one folder.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Result<Apt> {
        let folder = folder.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        // Nothing is installed.
        fs::write(folder.join("state/status"), "").context("apt's state cannot be written")?;
        Ok(Apt { folder })
    }

    fn command(&self, tool: &str, words: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.current_dir(&self.folder).args([
            "-qq",
            "-o",
            "APT::Architecture=arm64",
            "-o",
            "APT::Architectures=arm64",
        ]);
        for (option, part) in [("State", "state"), ("State::status", "state/status"), ("Cache", "cache")] {
            command.args(["-o", &format!("Dir::{option}={}", self.folder.join(part).display())]);
        }
        // As root it would go on as a user who sees neither this folder nor, maybe, the way to it.
        command.args(["-o", "APT::Sandbox::User=root"]).args(words);
        command
    }

    /// The package that `name` depends on whose name begins so: what is preferred now.
    fn dependency(&self, name: &str, prefix: &str) -> Option<String> {
        let output = self.command("apt-cache", &["depends", "--important", name]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        names.find(|name| name.starts_with(prefix)).map(String::from)
    }

    /// Downloads a package and unpacks it into a folder.
    fn unpack(&self, name: &str) -> Result<PathBuf> {
        tool::run(&mut self.command("apt-get", &["download", name]))?;
        let prefix = format!("{name}_");
        let files = fs::read_dir(&self.folder).context("apt's folder cannot be read")?;
        let package = files.flatten().find(|file| file.file_name().to_string_lossy().starts_with(&prefix));
        let package = package.with_context(|| format!("apt downloaded no {name}"))?.path();
        let folder = self.folder.join(name);
        tool::run(Command::new("dpkg-deb").arg("--extract").args([&package, &folder]))?;
        Ok(folder)
    }
}

/// Runs the machine of `config` with `linux` instead of our kernel, to its end: the same archive of programs, the same one of
/// them first, with the same arguments; its end is the machine's, with exit code 0 whatever its own was. Of `config`, what is
/// said to our kernel alone (`log`, `records`, `tracing`) has no effect.
pub fn run(images: &Images, linux: &Linux, config: &Config) -> Result<Outcome> {
    let (archive, init) = config.program.find(images)?;
    let folder = tempfile::tempdir().context("no folder for what Linux boots")?;
    let [kernel, initramfs] = ["Image", "initramfs.cpio"].map(|name| folder.path().join(name));
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let image = unpacked(read(&linux.kernel)?).with_context(|| linux.kernel.display().to_string())?;
    workspace::write(&kernel, &image)?;
    workspace::write(&initramfs, &initramfs_of(&read(config.initramfs.as_ref().unwrap_or(&archive))?)?)?;
    // Quiet to the end: its report of init's end, which is a panic to it, would follow what init prints.
    let init = init.as_deref().unwrap_or("/bin/init");
    let mut line = format!("console=ttyAMA0 quiet loglevel=0 panic=-1 {} rdinit={init}", config.append);
    push_arguments(&mut line, &config.args);
    let mut command = hardware(&Config { tracing: None, ..config.clone() })?;
    command.arg("-kernel").arg(&kernel).arg("-initrd").arg(&initramfs).args(["-append", &line]);
    command.args(&config.qemu_args);
    keep(|on| watch_command(command, &config.input, config.timeout, config.program.names(images), on))
}

/// An archive of cpio's, as Linux reads them.
#[derive(Default)]
struct Initramfs(Vec<u8>);

impl Initramfs {
    fn add(&mut self, name: &str, kind: ModeFileType, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        let entry = Builder::new(name).mode(mode).set_mode_file_type(kind).rdev_major(device.0).rdev_minor(device.1);
        let mut writer = entry.write(&mut self.0, u32::try_from(bytes.len())?);
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(())
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.add(name, ModeFileType::Directory, 0o755, (0, 0), &[])
    }

    fn program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add(name, ModeFileType::Regular, 0o755, (0, 0), bytes)
    }

    /// The console, for the kernel to open before init could mount anything; it ends the archive.
    fn end(mut self) -> Result<Vec<u8>> {
        self.folder("dev")?;
        self.add("dev/console", ModeFileType::Char, 0o600, (5, 1), &[])?;
        trailer(&mut self.0).context("the initramfs cannot be made")?;
        Ok(self.0)
    }
}

/// That of a guest: busybox, and a script as init.
fn guest_initramfs(busybox: &[u8]) -> Result<Vec<u8>> {
    let mut initramfs = Initramfs::default();
    for folder in ["bin", "proc", "sys", "tmp"] {
        initramfs.folder(folder)?;
    }
    initramfs.program("bin/busybox", busybox)?;
    initramfs.program("init", INIT)?;
    initramfs.end()
}

/// The files of one of our kernel's archives.
fn initramfs_of(ustar: &[u8]) -> Result<Vec<u8>> {
    let (mut initramfs, mut folders) = (Initramfs::default(), BTreeSet::new());
    for entry in tar::Archive::new(ustar).entries()? {
        let mut entry = entry?;
        let (name, mut bytes) = (entry.path()?.display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes)?;
        if let Some((folder, _)) = name.rsplit_once('/')
            && folders.insert(folder.to_string())
        {
            initramfs.folder(folder)?;
        }
        initramfs.program(&name, &bytes)?;
    }
    initramfs.end()
}

/// A kernel as the hypervisor and QEMU take it: what is packed by gzip, alone or in an EFI program that unpacks itself, is unpacked.
pub fn unpacked(image: Vec<u8>) -> Result<Vec<u8>> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    let packed = match image.get(..8) {
        // Linux's zboot: where the packed image is, how long, and by what it was packed.
        Some(b"MZ\0\0zimg") => {
            let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
            let range = word(8).zip(word(12)).and_then(|(at, len)| Some(at..at.checked_add(len)?));
            range.and_then(|range| image.get(range)).context("it is an EFI image that is cut short")?
        }
        _ if image.starts_with(GZIP) => &image,
        _ => return Ok(image),
    };
    if !packed.starts_with(GZIP) {
        bail!("it is packed by something else than gzip; unpack it first");
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut unpacked).context("it cannot be unpacked")?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ustar;
    use flate2::{Compression, write::GzEncoder};

    #[test]
    fn packed_kernels_are_unpacked() {
        let image = b"an image of a kernel".repeat(9);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&image).unwrap();
        let gzip = gzip.finish().unwrap();
        let zboot = |packed: &[u8]| {
            let mut file = b"MZ\0\0zimg".to_vec();
            [32, packed.len() as u32].iter().for_each(|word| file.extend(word.to_le_bytes()));
            file.resize(32, 0);
            [&file, packed].concat()
        };
        for file in [&image, &gzip, &zboot(&gzip)] {
            assert_eq!(unpacked(file.clone()).unwrap(), image);
        }
        for damaged in [&zboot(&gzip)[..40], &zboot(b"\x28\xb5\x2f\xfd"), &gzip[..20], &b"MZ\0\0zimg"[..]] {
            assert!(unpacked(damaged.to_vec()).is_err());
        }
    }

    type Found = (String, u32, (u32, u32), Vec<u8>);

    /// What is in an archive: name, mode, device, bytes.
    fn contents(archive: &[u8]) -> Vec<Found> {
        let (mut found, mut rest) = (Vec::new(), archive);
        loop {
            let mut reader = cpio::NewcReader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                return found;
            }
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            found.push((entry.name().to_string(), entry.mode(), (entry.rdev_major(), entry.rdev_minor()), bytes));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn an_initramfs_holds_what_the_kernel_looks_for() {
        let found = contents(&guest_initramfs(b"\x7fELF").unwrap());
        let entry = |name: &str| found.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!((entry("init").1, &*entry("init").3), (0o100_755, INIT));
        assert_eq!((entry("dev/console").1, entry("dev/console").2), (0o020_600, (5, 1)));
        assert_eq!((entry("bin/busybox").1, &*entry("bin/busybox").3), (0o100_755, &b"\x7fELF"[..]));
        assert_eq!(entry("proc").1, 0o040_755);
    }

    #[test]
    fn an_archive_of_programs_becomes_an_initramfs() {
        let files = ["bin/hello", "bin/init", "exec/a b"].map(|name| (name.to_string(), name.as_bytes().to_vec()));
        let found = contents(&initramfs_of(&ustar(&files).unwrap()).unwrap());
        let file = |name: &str| (name.to_string(), 0o100_755, (0, 0), name.as_bytes().to_vec());
        let folder = |name: &str| (name.to_string(), 0o040_755, (0, 0), vec![]);
        let console = ("dev/console".to_string(), 0o020_600, (5, 1), vec![]);
        let programs = [folder("bin"), file("bin/hello"), file("bin/init"), folder("exec"), file("exec/a b")];
        assert_eq!(found, [&programs[..], &[folder("dev"), console]].concat());
    }
}
