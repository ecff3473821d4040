//! A machine that the hypervisor runs, and the guests on it.

pub mod tree;

use crate::images::{Hypervisor, Images, ustar};
use crate::linux::{self, Linux};
use crate::machine::{self, Event, Input, option_value};
use crate::process::{INTERRUPT_CODE, interrupted, terminal};
use crate::symbols::{Files, Names};
use crate::trace::memory::Memory;
use crate::trace::timeline::Timeline;
use ::hyp::service::Plan;
use ::hyp::{config, image, map, result};
use anyhow::{Context, Result, bail, ensure};
use dtoolkit::fdt::Fdt;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::NamedTempFile;

/// A guest, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name, which its console has before each line.
    pub name: String,
    /// A flat image, an arm64 `Image` or an ELF file.
    pub image: PathBuf,
    /// A device tree instead of the one that is made for it.
    pub dtb: Option<PathBuf>,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Its boot arguments.
    pub append: String,
    /// Its RAM in MiB.
    pub mem: u32,
    /// Its vCPUs.
    pub vcpus: u8,
    /// What becomes of SErrors that it leaves pending.
    pub serrors: config::Serrors,
    /// A device of the machine that it has to itself.
    pub device: Option<Device>,
    /// The test service, and what it does by itself.
    pub service: Option<Plan>,
}

/// A device of the machine that a guest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The PL031, a clock that interrupts once a second at most.
    Pl031,
}

impl Device {
    /// What it is compatible with, as device trees say.
    pub const fn compatible(self) -> &'static str {
        match self {
            Device::Pl031 => "arm,pl031",
        }
    }
}

/// A guest's RAM when nothing else is said, in MiB.
pub const GUEST_MEM: u32 = 64;

/// As a guest's image: this project's kernel, with its programs.
pub const KERNEL: &str = "kernel";
/// As a guest's image: Debian's kernel, with a shell.
pub const LINUX: &str = "linux";

impl Guest {
    /// This project's kernel, as it is built for a bare machine, with its programs.
    pub fn kernel(images: &Images, name: &str) -> Guest {
        Guest { name: name.into(), initrd: Some(images.initramfs.clone()), ..Guest::new(images.image.clone()) }
    }

    /// Where the names of its code are: in its image, if that is an ELF file, and for our own kernel beside it.
    fn symbols(&self, images: &Images) -> Files {
        let same = |a: &Path, b: &Path| fs::canonicalize(a).ok() == fs::canonicalize(b).ok();
        if same(&self.image, &images.image) {
            return Files::new(images, None);
        }
        Files::of_kernel(&self.image)
    }

    /// A guest of whom nothing else is said.
    fn new(image: PathBuf) -> Guest {
        Guest {
            name: String::new(),
            image,
            dtb: None,
            initrd: None,
            append: String::new(),
            mem: GUEST_MEM,
            vcpus: 1,
            serrors: config::Serrors::default(),
            device: None,
            service: None,
        }
    }

    /// Reads `FILE[,dtb=FILE][,initrd=FILE][,append=ARGS][,mem=MIB][,vcpus=N][,serrors=POLICY][,device=pl031][,service=PLAN]`; a
    /// comma that parts nothing is doubled. Instead of a file's name, [`KERNEL`] and [`LINUX`] may stand.
    pub fn parse(text: &str) -> Result<Guest, String> {
        let mut words = words(text).into_iter();
        let image = PathBuf::from(words.next().filter(|word| !word.is_empty()).ok_or("an image file comes first")?);
        let (append, mem) = if image == Path::new(LINUX) { (linux::APPEND, linux::MEM) } else { ("", GUEST_MEM) };
        let mut guest = Guest { append: append.into(), mem, ..Guest::new(image) };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                format!("`{word}` is not of the form key=value (a comma within a name or value is doubled)")
            })?;
            match key {
                "dtb" => guest.dtb = Some(value.into()),
                "initrd" => guest.initrd = Some(value.into()),
                "append" => guest.append = value.into(),
                "mem" => guest.mem = number(key, value, config::MEMORY_MIB)?,
                "vcpus" => guest.vcpus = number(key, value, config::VCPUS)?,
                "device" if value == "pl031" => guest.device = Some(Device::Pl031),
                "device" => return Err(format!("there is no device `{value}` for guests; there is: pl031")),
                "serrors" => guest.serrors = config::Serrors::parse(value).ok_or("serrors is `diverse` or `panic`")?,
                "service" => {
                    guest.service =
                        Some(Plan::parse(value).ok_or("service is `on`, or words `after=`, `at=`, `iss=`, `every=`")?);
                }
                _ => {
                    let keys = "dtb, initrd, append, mem, vcpus, serrors, device, service";
                    return Err(format!("there is no key `{key}`; there are: {keys}"));
                }
            }
        }
        Ok(guest)
    }

    /// Looks whether the files that were typed are there, before anything is built for them.
    pub fn check_files(&self) -> Result<()> {
        let stands_for_files = [KERNEL, LINUX].iter().any(|word| self.image == Path::new(word));
        let image = (!stands_for_files).then_some(&self.image);
        for path in image.into_iter().chain(&self.dtb).chain(&self.initrd) {
            let metadata =
                fs::metadata(path).with_context(|| format!("guest file {} cannot be read", path.display()))?;
            ensure!(metadata.is_file(), "guest file {} is a folder or a device", path.display());
        }
        Ok(())
    }

    /// Puts the files in that a word stands for.
    pub fn find_files(&mut self, images: &Images, linux: &Linux) {
        let (image, initrd) = match self.image.to_str() {
            Some(KERNEL) => (&images.image, &images.initramfs),
            Some(LINUX) => (&linux.kernel, &linux.initramfs),
            _ => return,
        };
        self.image.clone_from(image);
        self.initrd.get_or_insert_with(|| initrd.clone());
    }
}

/// The number of a key, in its range.
fn number<T>(key: &str, text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{key}: `{text}` is not a number from {} to {}", range.start(), range.end()))
}

/// The words between single commas, with each double one as a single one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == ',' && characters.next_if_eq(&',').is_none() {
            words.push(String::new());
        } else {
            words.last_mut().expect("there is always one").push(c);
        }
    }
    words
}

/// The most guests there can be.
pub use config::GUESTS_MAX;

/// A machine and its guests.
#[derive(Clone, Debug)]
pub struct Config {
    /// QEMU itself: a name in PATH, or a path.
    pub qemu: OsString,
    /// CPU model, as QEMU names it.
    pub cpu: String,
    /// Version of the interrupt controller: 2 or 3.
    pub gic: u8,
    /// CPUs the machine has.
    pub smp: u8,
    /// Memory in MiB; else what the guests need.
    pub mem: Option<u32>,
    /// Time by instructions, one every 2^this nanoseconds.
    pub icount: Option<u8>,
    /// Whether the hypervisor adds up what its traps cost.
    pub count: bool,
    /// Whether it traces itself: MiB of each CPU's ring.
    pub trace: Option<u32>,
    /// More boot arguments of the hypervisor's own, as they are (`hyp/src/el2/boot.rs`).
    pub append: String,
    /// The guests.
    pub guests: Vec<Guest>,
    /// What is typed: for the first guest, and after Ctrl-A three times in a row for the next.
    pub input: Input,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
}

impl Default for Config {
    /// One Cortex-A72 with a GICv3, no guests, no input, sixty seconds.
    fn default() -> Config {
        let machine::Config { qemu, cpu, gic, smp, input, timeout, qemu_args, .. } = machine::Config::default();
        Config {
            qemu,
            cpu,
            gic,
            smp,
            mem: None,
            icount: None,
            count: false,
            trace: None,
            append: String::new(),
            guests: Vec::new(),
            input,
            timeout,
            qemu_args,
        }
    }
}

impl Config {
    /// How many MiB suffice.
    pub fn needed_mem(&self) -> u32 {
        let guests: u32 = self.guests.iter().map(|guest| guest.mem).sum();
        guests + self.trace.unwrap_or(0) * u32::from(self.smp) + OVERHEAD
    }
}

/// MiB for the hypervisor, its heap and what it is booted with, besides the guests'.
const OVERHEAD: u32 = 192;

/// How a machine ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// 0: every guest powered off; 3: one did not end in order; 121: the hypervisor panicked; 124: time was over;
    /// [`INTERRUPT_CODE`].
    pub code: u8,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// What the hypervisor left in its page: a [`result::Summary`], or the [`Report`](trap::record::Report) of its panic; none when
    /// it left nothing.
    pub result: Option<serde_json::Value>,
    /// What it wrote down, if it was to.
    pub trace: Option<Timeline>,
}

impl Outcome {
    /// What the guests did, if the hypervisor came to its end in order.
    pub fn summary(&self) -> Option<result::Summary> {
        serde_json::from_value(self.result.clone()?).ok()
    }
}

/// Names for all that a machine's console and trace speak of.
pub fn names(hypervisor: &Hypervisor, images: &Images, config: &Config) -> Names {
    let guests = config.guests.iter().map(|guest| (guest.name.clone(), guest.symbols(images))).collect();
    Names::with_guests(&images.root, &hypervisor.elf, guests)
}

/// Runs a machine to its end, and gives `on` what it says as soon as it says it.
pub fn watch(
    hypervisor: &Hypervisor,
    images: &Images,
    config: &Config,
    mut on: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<Outcome> {
    let mem = config.mem.unwrap_or_else(|| config.needed_mem());
    let memory = Memory::new(mem)?;
    let mut archive = NamedTempFile::new().context("no temporary file can be made")?;
    std::io::Write::write_all(&mut archive, &pack(&config.guests, config.gic)?)
        .context("the archive cannot be written")?;
    let command = command(hypervisor, config, mem, &memory.path(), archive.path())?;
    let names = names(hypervisor, images, config);
    let mut archive = Some(archive);
    let on = |event: Event<'_>| {
        // A machine that speaks has read it: nothing is left of it, however this process ends.
        if !matches!(event, Event::Started(_)) {
            archive.take();
        }
        on(event)
    };
    let (code, timed_out) = machine::watch_command(command, &config.input, config.timeout, names, on)?;
    let page = memory.of_image(&hypervisor.elf, "result_page", result::Page::SIZE)?;
    let result = result::Page::parse(&page);
    let code = match (timed_out, result) {
        (true, _) => machine::TIMED_OUT,
        (false, Some((code, _))) => code,
        (false, None) if code != 0 => bail!("QEMU ended with code {code}, and the hypervisor left no result"),
        (false, None) if interrupted() => INTERRUPT_CODE,
        // By QEMU's own keys.
        (false, None) if terminal(&config.input) => 0,
        (false, None) => bail!("the hypervisor ended without a result"),
    };
    let json = result.map(|(_, json)| json).filter(|json| !json.is_empty());
    let result = json.map(serde_json::from_slice).transpose().context("the hypervisor's result is not JSON")?;
    let timeline = |_| -> Result<Timeline> {
        let timeline = Timeline::new(memory.rings(&hypervisor.elf)?, config.icount.unwrap_or(0));
        Ok(Timeline { guests: config.guests.iter().map(|guest| guest.name.clone()).collect(), ..timeline })
    };
    let trace = config.trace.map(timeline).transpose()?;
    Ok(Outcome { code, timed_out, result, trace })
}

/// Ctrl-], after which QEMU's own keys come.
const QEMU_ESCAPE: u8 = 29;

fn command(hypervisor: &Hypervisor, config: &Config, mem: u32, memory: &Path, archive: &Path) -> Result<Command> {
    let mut command = Command::new(&config.qemu);
    let memory = option_value(memory.to_str().context("the memory file's path is not UTF-8")?);
    command.args(["-object", &format!("memory-backend-file,id=ram,size={mem}M,mem-path={memory},share=on")]);
    command.args(["-M", &format!("virt,gic-version={},virtualization=on,memory-backend=ram", config.gic)]);
    command.args(["-cpu", &config.cpu, "-smp", &config.smp.to_string(), "-m", &format!("{mem}M")]);
    command.args(["-nic", "none", "-display", "none", "-no-reboot"]);
    if terminal(&config.input) {
        // Ctrl-A is the hypervisor's.
        command.args(["-serial", "mon:stdio", "-echr", &QEMU_ESCAPE.to_string()]);
    } else {
        command.args(["-serial", "stdio"]);
    }
    if let Some(shift) = config.icount {
        command.args(["-icount", &format!("shift={shift},sleep=off")]);
    }
    command.arg("-kernel").arg(&hypervisor.image).arg("-initrd").arg(archive);
    let trace = config.trace.map(|mib| format!("trace={mib}"));
    let keyboard = (config.input != Input::Nothing).then_some("keyboard");
    let words = [keyboard, config.count.then_some("count"), trace.as_deref(), Some(&*config.append)];
    let words: Vec<_> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    if !words.is_empty() {
        command.args(["-append", &words.join(" ")]);
    }
    command.args(&config.qemu_args);
    Ok(command)
}

/// The archive with the guests' files and their description, by the hypervisor's own plan of what goes where.
pub fn pack(guests: &[Guest], gic: u8) -> Result<Vec<u8>> {
    ensure!(!guests.is_empty(), "there is no guest");
    let mut files = Vec::new();
    let mut description = String::new();
    for (number, guest) in guests.iter().enumerate() {
        let mut add = |kind: &str, bytes: Vec<u8>| {
            let name = format!("{number}/{kind}");
            files.push((name.clone(), bytes));
            name
        };
        let image_bytes = linux::unpacked(read(&guest.image)?).with_context(|| guest.image.display().to_string())?;
        let wrong = |why| {
            let cure = match why {
                image::Error::ImageOutsideRam | image::Error::InitrdTooLarge | image::Error::DtbTooLarge => {
                    format!(", of {} MiB; mem=MIB is more", guest.mem)
                }
                _ => String::new(),
            };
            anyhow::anyhow!("{} ({}): {why}{cure}", guest.name, guest.image.display())
        };
        let initrd = guest.initrd.as_deref().map(read).transpose()?;
        let ram = map::RAM..map::RAM + (u64::from(guest.mem) << 20);
        let length = initrd.as_ref().map_or(0, |bytes| bytes.len() as u64);
        // The length of the device tree changes nothing that the tree says.
        let plan = image::plan(&image_bytes, &ram, 0, length).map(|plan| plan.initrd);
        let at = plan.map_err(wrong)?;
        let dtb = match &guest.dtb {
            Some(path) => {
                let blob = read(path)?;
                ensure!(
                    Fdt::new(&blob).is_ok(),
                    "{} is not a device tree in the form of a blob (dtc makes one)",
                    path.display()
                );
                image::plan(&image_bytes, &ram, blob.len() as u64, length).map_err(wrong)?;
                blob
            }
            None => tree::tree(&tree::Guest {
                ram: ram.end - ram.start,
                vcpus: guest.vcpus,
                gic,
                bootargs: &guest.append,
                initrd: initrd.as_ref().map(|_| at..at + length),
                device: guest.device,
            })?,
        };
        let (image, dtb) = (add("image", image_bytes), add("dtb", dtb));
        let initrd = initrd.map(|bytes| add("initrd", bytes));
        let guest = config::Guest {
            dtb: Some(&dtb),
            initrd: initrd.as_deref(),
            append: &guest.append,
            memory_mib: guest.mem,
            vcpus: guest.vcpus,
            serrors: guest.serrors,
            device: guest.device.map(Device::compatible),
            service: guest.service,
            ..config::Guest::new(&guest.name, &image)
        };
        description.push_str(&guest.to_string());
    }
    // What the hypervisor would refuse is refused here.
    config::guests(&description).map_err(|why| anyhow::anyhow!("{why}"))?;
    files.insert(0, ("guests".into(), description.into_bytes()));
    ustar(&files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What the guests did, for people; instructions with the time that one takes ([`Config::icount`]).
pub fn words_of(summary: &result::Summary, icount: Option<u8>) -> String {
    let mut text = format!(
        "{} world switches, {} interrupts of the hypervisor's own\n",
        summary.world_switches, summary.host_irqs
    );
    for (leaked, what) in [(summary.leaked_ram, "RAM"), (summary.leaked_heap, "heap")] {
        if leaked > 0 {
            let _ = writeln!(text, "{leaked} bytes of {what} were not given back");
        }
    }
    for guest in &summary.guests {
        let end = match guest.end {
            Some(result::End::PoweredOff) => "powered off",
            Some(result::End::Panicked) => "panicked",
            Some(result::End::Killed) => "killed",
            None => "still ran",
        };
        let _ = writeln!(text, "\n{}: {end}", guest.name);
        let mut row = |count: u64, what: &str| {
            let _ = writeln!(text, "  {count:>9} {what}");
        };
        if guest.restarts > 0 {
            row(guest.restarts, "restarts");
        }
        row(guest.switches, "switches to it");
        row(guest.injections, "interrupts injected");
        row(guest.irqs, "physical interrupts");
        if guest.serrors > 0 {
            row(guest.serrors, "SErrors");
        }
        for (kind, count) in &guest.exceptions {
            row(*count, &format!("times it was given {kind} for what it tried"));
        }
        let traps: u64 = guest.traps.iter().map(|(_, count)| count).sum();
        row(traps, "traps:");
        text.push_str(&traps_of(guest, summary.frequency, icount));
    }
    text
}

/// The table of a guest's traps: by class how many, and, where they were counted, instructions a trap.
fn traps_of(guest: &result::GuestSummary, frequency: u64, icount: Option<u8>) -> String {
    let cost = |class: &str| guest.costs.iter().find(|cost| cost.class == class);
    let mut text = String::new();
    let mut row = |count: &str, class: &str, mean: &str, max: &str| {
        let line = format!("  {count:>9} {class:<24} {mean:>10} {max:>10}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    if !guest.costs.is_empty() {
        row("", "class: instructions", "mean", "max");
    }
    let irqs = (guest.irqs, "irq");
    let classes = guest.traps.iter().map(|(class, count)| (*count, class.as_str()));
    for (count, class) in classes.chain(Some(irqs).filter(|_| !guest.costs.is_empty())) {
        let figures = cost(class).zip(icount).map(|(cost, shift)| instructions(cost, frequency, shift));
        let (mean, max) = figures.map_or_else(Default::default, |(mean, max)| (mean.to_string(), max.to_string()));
        row(&count.to_string(), class, &mean, &max);
    }
    text
}

/// The mean and the greatest cost of a trap, in instructions of 2^`shift` nanoseconds.
pub fn instructions(cost: &result::Cost, frequency: u64, shift: u8) -> (u64, u64) {
    let instructions = |ticks: u64| (u128::from(ticks) * 1_000_000_000 / u128::from(frequency.max(1))) >> shift;
    let mean = instructions(cost.ticks) / u128::from(cost.count.max(1));
    (mean as u64, instructions(cost.max) as u64)
}

/// The summary for tools: as the hypervisor left it, with each cost in instructions too.
pub fn json_of(mut summary: serde_json::Value, icount: Option<u8>) -> serde_json::Value {
    let frequency = summary["frequency"].as_u64().unwrap_or_default();
    let guests = summary.get_mut("guests").and_then(serde_json::Value::as_array_mut).into_iter().flatten();
    let costs = guests.filter_map(|guest| guest.get_mut("costs")?.as_array_mut()).flatten();
    for (value, shift) in costs.zip(icount.into_iter().cycle()) {
        if let Ok(cost) = serde_json::from_value(value.clone()) {
            let (mean, max) = instructions(&cost, frequency, shift);
            value["instructions"] = serde_json::json!({ "mean": mean, "max": max });
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_as_they_are_typed() {
        let guest = Guest::parse("a,,b,initrd=i,append=x=1,,2 y,mem=128,vcpus=2").unwrap();
        assert_eq!((guest.image.to_str(), guest.initrd), (Some("a,b"), Some("i".into())));
        assert_eq!((&*guest.append, guest.mem, guest.vcpus), ("x=1,2 y", 128, 2));
        let guest = Guest::parse("k,serrors=panic,service=after=7 every=9").unwrap();
        assert_eq!((guest.serrors, guest.service), (config::Serrors::Panic, Plan::parse("after=7 every=9")));
        let plain = Guest::parse("k").unwrap();
        assert_eq!((plain.mem, plain.vcpus, plain.dtb), (GUEST_MEM, 1, None));
        let linux = Guest::parse("linux,vcpus=2").unwrap();
        assert_eq!((linux.mem, linux.vcpus, &*linux.append), (linux::MEM, 2, linux::APPEND));
        for wrong in [
            "",
            ",mem=64",
            "k,mem=63",
            "k,vcpus=9",
            "k,vcpus=",
            "k,cpus=1",
            "k,initrd",
            "k,serrors=no",
            "k,service=off",
        ] {
            assert!(Guest::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_keyboard_is_announced() {
        let hypervisor = Hypervisor { elf: "hyp".into(), image: "Image".into() };
        let line = |input| {
            let config = Config { input, count: true, ..Config::default() };
            let command = command(&hypervisor, &config, 256, Path::new("memory"), Path::new("archive")).unwrap();
            command.get_args().map(|word| word.to_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        let announced = |line: &[String]| line.windows(2).any(|words| words == ["-append", "keyboard count"]);
        assert!(!announced(&line(Input::Nothing)));
        assert!(announced(&line(Input::SharedStdin)) && announced(&line(Input::Dialogue(Vec::new()))));
    }

    #[test]
    fn costs_are_told_in_instructions() {
        let cost = result::Cost { class: "hvc64".parse().unwrap(), count: 4, ticks: 50, max: 20 };
        assert_eq!(instructions(&cost, 62_500_000, 0), (200, 320), "16 instructions a tick");
        assert_eq!(instructions(&cost, 62_500_000, 4), (12, 20));
        let mut guest = result::GuestSummary { name: "left".parse().unwrap(), ..Default::default() };
        guest.traps.push(("hvc64".parse().unwrap(), 5)).unwrap();
        guest.costs.push(cost).unwrap();
        let mut summary = result::Summary { frequency: 62_500_000, ..Default::default() };
        summary.guests.push(guest).unwrap();
        let words = words_of(&summary, Some(0));
        assert!(words.lines().any(|line| line.split_whitespace().eq(["5", "hvc64", "200", "320"])), "{words}");
        let json = serde_json::to_value(&summary).unwrap();
        let told = &json_of(json.clone(), Some(4))["guests"][0]["costs"][0];
        assert_eq!(told["instructions"], serde_json::json!({ "mean": 12, "max": 20 }));
        assert_eq!(json_of(json.clone(), None), json);
    }

    #[test]
    fn an_archive_says_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let guest = |name: &str| Guest {
            name: name.into(),
            initrd: Some(file("initrd", b"files")),
            ..Guest::parse(file("image", &[0; 256]).to_str().unwrap()).unwrap()
        };
        let bytes = pack(&[guest("left"), guest("right")], 3).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "guests" {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
                let guests = config::guests(&text).unwrap();
                assert_eq!((guests[1].name, guests[1].image, guests[1].initrd), ("right", "1/image", Some("1/initrd")));
            }
            names.push(name);
        }
        assert_eq!(names, ["guests", "0/image", "0/dtb", "0/initrd", "1/image", "1/dtb", "1/initrd"]);
        assert!(pack(&[guest("one"), guest("one")], 3).is_err(), "two of one name");
        assert!(pack(&[], 3).is_err());
    }
}
