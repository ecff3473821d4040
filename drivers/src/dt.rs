//! What the device tree says of the machine, read once into plain values.
//!
//! Addresses are physical and in bytes. Device nodes are looked for at any depth; buses are taken to map their children
//! one to one (an empty `ranges`), as they do on the machines this runs on.

use core::fmt;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use heapless::Vec;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Region {
    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }
}

/// The interrupt controller and where its registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2.
    V2 {
        /// Distributor.
        gicd: Region,
        /// CPU interface.
        gicc: Region,
        /// The hypervisor's interface (GICH) and the guest's CPU interface (GICV), where there are any.
        virtualization: Option<(Region, Region)>,
    },
    /// GICv3.
    V3 {
        /// Distributor.
        gicd: Region,
        /// First redistributor region.
        gicr: Region,
    },
}

/// How PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// By HVC: the firmware is at EL2.
    Hvc,
    /// By SMC: the firmware is at EL3.
    Smc,
}

/// What is needed to say anything: where, and how the machine is ended after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console<'a> {
    /// PL011 registers.
    pub uart: Region,
    /// Frequency of its reference clock in Hz, where the tree says it.
    pub clock: Option<u32>,
    /// How PSCI is called; none when the tree has no PSCI.
    pub psci: Option<Conduit>,
    /// Boot arguments; empty when there are none.
    pub bootargs: &'a str,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// RAM.
    pub memory: Vec<Region, 8>,
    /// Parts of RAM that are not ours (`/reserved-memory` and the reservation block).
    pub reserved: Vec<Region, 16>,
    /// Interrupt controller.
    pub gic: Gic,
    /// PL011, PSCI and boot arguments.
    pub console: Console<'a>,
    /// PL011 interrupt (INTID).
    pub uart_irq: u32,
    /// Seed for random numbers, from the boot loader.
    pub rng_seed: Option<&'a [u8]>,
    /// EL1 virtual timer interrupt (INTID).
    pub timer_irq: u32,
    /// EL2 physical timer interrupt (INTID), where there is an EL2.
    pub hypervisor_timer_irq: Option<u32>,
    /// Number of CPUs.
    pub cpus: usize,
    /// The initramfs.
    pub initrd: Option<Region>,
    /// The register that a panic is told to (`qemu,pvpanic-mmio`), where there is one.
    pub pvpanic: Option<Region>,
}

/// Why a device tree could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The blob is not a well-formed flattened device tree.
    Malformed,
    /// A node or property that the kernel needs is missing or unreadable; says which.
    Missing(&'static str),
    /// There are more of these than the kernel keeps.
    TooMany(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed => write!(f, "the device tree is not well-formed"),
            Error::Missing(what) => write!(f, "the device tree has no usable {what}"),
            Error::TooMany(what) => write!(f, "the device tree has too many {what}"),
        }
    }
}

/// Total size in bytes of the blob whose first 8 bytes are `header`; none when it is no device tree.
pub fn total_size(header: [u8; 8]) -> Option<usize> {
    let [m0, m1, m2, m3, size @ ..] = header;
    (u32::from_be_bytes([m0, m1, m2, m3]) == 0xd00d_feed).then(|| u32::from_be_bytes(size) as usize)
}

impl<'a> Machine<'a> {
    /// Reads `blob`, a whole flattened device tree.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let fdt = Fdt::new(blob).map_err(|_| Error::Malformed)?;
        let root = fdt.root();
        let kinds = [PL011, PSCI, &["arm,armv8-timer"], &["arm,gic-v3"], GIC_V2, &["qemu,pvpanic-mmio"]];
        let [pl011, psci, timer, gic_v3, gic_v2, pvpanic] = find(root, kinds);
        let timer = timer.ok_or(Error::Missing("timer (arm,armv8-timer)"))?;
        let uart = uart(fdt, pl011)?;
        let mut machine = Machine {
            memory: Vec::new(),
            reserved: Vec::new(),
            gic: gic(gic_v3, gic_v2)?,
            console: Console::read(root, uart, psci)?,
            uart_irq: interrupt(uart, 0).ok_or(Error::Missing("PL011 interrupts"))?,
            rng_seed: None,
            // The binding's order: secure physical, non-secure physical, virtual, hypervisor.
            timer_irq: interrupt(timer, 2).ok_or(Error::Missing("virtual timer interrupt"))?,
            hypervisor_timer_irq: interrupt(timer, 3),
            cpus: fdt.cpus().map_err(|_| Error::Missing("/cpus"))?.cpus().count(),
            initrd: None,
            pvpanic: pvpanic.and_then(|node| region(node, 0)),
        };
        for node in root.children().filter(|node| node.name_without_address() == "memory") {
            push_regions(&mut machine.memory, node, "memory")?;
        }
        if machine.memory.is_empty() {
            return Err(Error::Missing("/memory"));
        }
        if let Some(nodes) = root.child("reserved-memory") {
            for node in nodes.children() {
                push_regions(&mut machine.reserved, node, "reserved-memory")?;
            }
        }
        for entry in fdt.memory_reservations() {
            let region = Region { base: entry.address(), size: entry.size() };
            machine.reserved.push(region).map_err(|_| Error::TooMany("memory reservations"))?;
        }

        if let Some(chosen) = root.child("chosen") {
            if let (Some(start), Some(end)) = (number(chosen, "linux,initrd-start"), number(chosen, "linux,initrd-end"))
            {
                machine.initrd = end.checked_sub(start).map(|size| Region { base: start, size });
            }
            machine.rng_seed = chosen.property("rng-seed").and_then(|seed| seed.value_as().ok());
        }
        Ok(machine)
    }

    /// The same, where `blob`, which it was read from, is `there` now.
    pub fn moved<'b>(self, blob: &[u8], there: &'b [u8]) -> Machine<'b> {
        let part = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(blob.as_ptr().addr());
            there.get(start..start.wrapping_add(part.len())).unwrap_or_default()
        };
        // Of the same bytes: what was UTF-8 is so.
        let bootargs = core::str::from_utf8(part(self.console.bootargs.as_bytes())).unwrap_or_default();
        Machine { console: Console { bootargs, ..self.console }, rng_seed: self.rng_seed.map(part), ..self }
    }
}

/// The CPUs that `blob` tells of, by the affinity fields of their MPIDR_EL1.
pub fn cpus(blob: &[u8]) -> impl Iterator<Item = u64> {
    let list = Fdt::new(blob).ok().and_then(|fdt| fdt.root().child("cpus"));
    list.into_iter().flat_map(|cpus| cpus.children()).filter_map(|cpu| {
        let is_cpu = cpu.name_without_address() == "cpu";
        is_cpu.then(|| number(cpu, "reg")).flatten()
    })
}

/// The registers and the interrupt (INTID) of the first device in `blob` that is compatible with `name`.
pub fn device(blob: &[u8], name: &str) -> Option<(Region, u32)> {
    let [node] = find(Fdt::new(blob).ok()?.root(), [&[name]]);
    let node = node?;
    region(node, 0).zip(interrupt(node, 0))
}

impl<'a> Console<'a> {
    /// Reads of `blob` what is needed to complain about the rest.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let fdt = Fdt::new(blob).map_err(|_| Error::Malformed)?;
        let [pl011, psci] = find(fdt.root(), [PL011, PSCI]);
        Self::read(fdt.root(), uart(fdt, pl011)?, psci)
    }

    fn read(root: FdtNode<'a>, node: FdtNode<'a>, psci: Option<FdtNode<'a>>) -> Result<Self, Error> {
        let bootargs = match root.child("chosen").and_then(|chosen| chosen.property("bootargs")) {
            Some(property) => property.value_as().map_err(|_| Error::Missing("bootargs (it is not UTF-8)"))?,
            None => "",
        };
        Ok(Console {
            uart: region(node, 0).ok_or(Error::Missing("PL011 reg"))?,
            clock: clock(root, node),
            psci: psci.and_then(conduit),
            bootargs,
        })
    }
}

/// What a PL011, PSCI and a GICv2 are compatible with.
const PL011: &[&str] = &["arm,pl011"];
const PSCI: &[&str] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
const GIC_V2: &[&str] = &["arm,cortex-a15-gic", "arm,gic-400"];

/// The PL011 that `/chosen/stdout-path` names, or the first one.
fn uart<'a>(fdt: Fdt<'a>, first: Option<FdtNode<'a>>) -> Result<FdtNode<'a>, Error> {
    let named = || {
        let path: &str = fdt.root().child("chosen")?.property("stdout-path")?.value_as().ok()?;
        let node = fdt.find_node(path.split(':').next()?)?;
        is_compatible(node, PL011).then_some(node)
    };
    named().or(first).ok_or(Error::Missing("PL011 UART (arm,pl011)"))
}

fn gic(v3: Option<FdtNode<'_>>, v2: Option<FdtNode<'_>>) -> Result<Gic, Error> {
    let missing = Error::Missing("interrupt controller registers");
    if let Some(node) = v3 {
        let (gicd, gicr) = region(node, 0).zip(region(node, 1)).ok_or(missing)?;
        return Ok(Gic::V3 { gicd, gicr });
    }
    let node = v2.ok_or(Error::Missing("GICv2 or GICv3"))?;
    let (gicd, gicc) = region(node, 0).zip(region(node, 1)).ok_or(missing)?;
    Ok(Gic::V2 { gicd, gicc, virtualization: region(node, 2).zip(region(node, 3)) })
}

fn conduit(psci: FdtNode<'_>) -> Option<Conduit> {
    match psci.property("method")?.value_as().ok()? {
        "hvc" => Some(Conduit::Hvc),
        "smc" => Some(Conduit::Smc),
        _ => None,
    }
}

/// The frequency of the first clock that `node` refers to, when that is a fixed one.
fn clock(root: FdtNode<'_>, node: FdtNode<'_>) -> Option<u32> {
    let handle = node.property("clocks")?.value().first_chunk().copied().map(u32::from_be_bytes)?;
    let clock = root.children().find(|child| number(*child, "phandle") == Some(handle.into()))?;
    number(clock, "clock-frequency")?.try_into().ok()
}

fn is_compatible(node: FdtNode<'_>, names: &[&str]) -> bool {
    node.compatible().is_some_and(|mut list| list.any(|name| names.contains(&name)))
}

/// For each list of names, the first node below `node` that is compatible with one of them; all in one go, as it takes long.
fn find<'a, const N: usize>(node: FdtNode<'a>, kinds: [&[&str]; N]) -> [Option<FdtNode<'a>>; N] {
    fn search<'a>(node: FdtNode<'a>, kinds: &[&[&str]], found: &mut [Option<FdtNode<'a>>]) {
        for child in node.children() {
            for name in child.compatible().into_iter().flatten() {
                if let Some(kind) = kinds.iter().position(|names| names.contains(&name)) {
                    found[kind].get_or_insert(child);
                }
            }
            if found.iter().all(Option::is_some) {
                return;
            }
            search(child, kinds, found);
        }
    }
    let mut found = [None; N];
    search(node, &kinds, &mut found);
    found
}

fn regions(node: FdtNode<'_>) -> impl Iterator<Item = Region> {
    let list = node.reg().ok().flatten();
    list.into_iter().flatten().filter_map(|reg| Some(Region { base: reg.address().ok()?, size: reg.size().ok()? }))
}

fn region(node: FdtNode<'_>, index: usize) -> Option<Region> {
    regions(node).nth(index)
}

fn push_regions<const N: usize>(list: &mut Vec<Region, N>, node: FdtNode<'_>, what: &'static str) -> Result<(), Error> {
    regions(node)
        .filter(|region| region.size != 0)
        .try_for_each(|region| list.push(region).map_err(|_| Error::TooMany(what)))
}

/// The INTID of the `index`th interrupt of `node`: <kind number flags>, kind 0 an SPI (from 32), 1 a PPI (from 16).
fn interrupt(node: FdtNode<'_>, index: usize) -> Option<u32> {
    let property = node.property("interrupts")?;
    let mut cells = property.value().chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().expect("4 bytes")));
    let kind = cells.nth(index * 3)?;
    let number = cells.next()?;
    match kind {
        0 => number.checked_add(32),
        1 => number.checked_add(16),
        _ => None,
    }
}

/// A number of one or two cells.
fn number(node: FdtNode<'_>, name: &str) -> Option<u64> {
    match *node.property(name)?.value() {
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
    use proptest::collection;
    use proptest::sample::select;
    use std::vec::Vec;

    fn node(name: &str, properties: &[(&str, Vec<u8>)], children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
        let mut builder = DeviceTreeNode::builder(name).unwrap();
        for (name, value) in properties {
            builder = builder.property(DeviceTreeProperty::new(*name, value.as_slice()).unwrap());
        }
        for child in children {
            builder = builder.child(child);
        }
        builder.build()
    }

    fn text(text: &str) -> Vec<u8> {
        [text.as_bytes(), &[0]].concat()
    }

    fn cells(cells: &[u32]) -> Vec<u8> {
        cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
    }

    /// The nodes of a small machine, those whose names begin with `left_out` missing.
    fn machine(left_out: &str, gic: &str) -> Vec<u8> {
        let nodes = std::vec![
            node("memory@40000000", &[("reg", cells(&[0, 0x4000_0000, 0, 0x1000_0000]))], Vec::new()),
            node("memory@100000000", &[("reg", cells(&[1, 0, 1, 0]))], Vec::new()),
            node(
                "cpus",
                &[("#address-cells", cells(&[1])), ("#size-cells", cells(&[0]))],
                std::vec![
                    node("cpu@0", &[("reg", cells(&[0]))], Vec::new()),
                    node("cpu@1", &[("reg", cells(&[1]))], Vec::new()),
                ]
            ),
            node("clock", &[("phandle", cells(&[7])), ("clock-frequency", cells(&[24_000_000]))], Vec::new()),
            node(
                "soc",
                &[("#address-cells", cells(&[2])), ("#size-cells", cells(&[2]))],
                std::vec![
                    node(
                        "serial@8000000",
                        &[
                            ("compatible", [text("arm,pl011"), text("arm,primecell")].concat()),
                            ("reg", cells(&[0, 0x800_0000, 0, 0x1000])),
                            ("interrupts", cells(&[0, 8, 4])),
                        ],
                        Vec::new(),
                    ),
                    node(
                        "serial@9000000",
                        &[
                            ("compatible", text("arm,pl011")),
                            ("reg", cells(&[0, 0x900_0000, 0, 0x1000])),
                            ("interrupts", cells(&[0, 1, 4])),
                            ("clocks", cells(&[7, 7])),
                        ],
                        Vec::new(),
                    ),
                    node(
                        "intc@a000000",
                        &[
                            ("compatible", text(gic)),
                            ("reg", cells(&[0, 0xa00_0000, 0, 0x1_0000, 0, 0xb00_0000, 0, 0x2_0000])),
                        ],
                        Vec::new(),
                    ),
                ]
            ),
            node(
                "timer",
                &[
                    ("compatible", text("arm,armv8-timer")),
                    ("interrupts", cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])),
                ],
                Vec::new(),
            ),
            node("psci", &[("compatible", text("arm,psci-1.0")), ("method", text("smc"))], Vec::new()),
            node(
                "reserved-memory",
                &[("#address-cells", cells(&[2])), ("#size-cells", cells(&[2]))],
                std::vec![node("firmware@40000000", &[("reg", cells(&[0, 0x4000_0000, 0, 0x10_0000]))], Vec::new()),]
            ),
            node(
                "chosen",
                &[
                    ("bootargs", text("loglevel=info -- a")),
                    ("stdout-path", text("/soc/serial@9000000:115200")),
                    ("linux,initrd-start", cells(&[0x4800_0000])),
                    ("linux,initrd-end", cells(&[0, 0x4800_1000])),
                ],
                Vec::new(),
            ),
        ];
        let mut tree = DeviceTree::new();
        tree.root = node("", &[("#address-cells", cells(&[2])), ("#size-cells", cells(&[2]))], Vec::new());
        for node in nodes {
            if left_out.is_empty() || !node.name().starts_with(left_out) {
                tree.root.add_child(node);
            }
        }
        tree.to_dtb()
    }

    #[test]
    fn reads_a_machine() {
        let blob = machine("", "arm,gic-v3");
        let machine = Machine::parse(&blob).unwrap();
        let region = |base, size| Region { base, size };
        assert_eq!(machine.memory[..], [region(0x4000_0000, 0x1000_0000), region(1 << 32, 1 << 32)]);
        assert_eq!(machine.reserved[..], [region(0x4000_0000, 0x10_0000)]);
        assert_eq!(machine.gic, Gic::V3 { gicd: region(0xa00_0000, 0x1_0000), gicr: region(0xb00_0000, 0x2_0000) });
        let console = machine.console;
        assert_eq!((console.uart, machine.uart_irq), (region(0x900_0000, 0x1000), 33), "the one of stdout-path");
        assert_eq!((console.clock, machine.timer_irq), (Some(24_000_000), 27));
        assert_eq!((machine.cpus, console.psci), (2, Some(Conduit::Smc)));
        assert_eq!(machine.initrd, Some(region(0x4800_0000, 0x1000)));
        assert_eq!((console.bootargs, machine.rng_seed), ("loglevel=info -- a", None));
    }

    #[test]
    fn moves_with_its_blob() {
        let blob = machine("", "arm,gic-v3");
        let there = blob.clone();
        let moved = Machine::parse(&blob).unwrap().moved(&blob, &there);
        assert_eq!(moved.console.bootargs, "loglevel=info -- a");
        assert!(there.as_ptr_range().contains(&moved.console.bootargs.as_ptr()));
    }

    #[test]
    fn knows_both_controllers() {
        for (name, is_v2) in [("arm,cortex-a15-gic", true), ("arm,gic-400", true), ("arm,gic-v3", false)] {
            let blob = machine("", name);
            assert_eq!(matches!(Machine::parse(&blob).unwrap().gic, Gic::V2 { .. }), is_v2, "{name}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        for (needed, speaks) in [("memory", true), ("cpus", true), ("timer", true), ("soc", false)] {
            let blob = machine(needed, "arm,gic-v3");
            assert!(matches!(Machine::parse(&blob), Err(Error::Missing(_))), "{needed}");
            assert_eq!(Console::parse(&blob).is_ok(), speaks, "{needed}");
        }
        let blob = machine("", "some,other-gic");
        assert_eq!(Machine::parse(&blob).err(), Some(Error::Missing("GICv2 or GICv3")));
        for optional in ["psci", "chosen", "reserved-memory", "clock"] {
            assert!(Machine::parse(&machine(optional, "arm,gic-v3")).is_ok(), "{optional}");
        }
    }

    #[test]
    fn refuses_what_is_no_tree() {
        let blob = machine("", "arm,gic-v3");
        assert_eq!(total_size(blob[..8].try_into().unwrap()), Some(blob.len()));
        assert_eq!(total_size([0; 8]), None);
        for length in 0..blob.len() {
            assert!(Machine::parse(&blob[..length]).is_err(), "cut to {length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..4096, byte: u8) {
            let mut blob = machine("", "arm,gic-v3");
            let at = at % blob.len();
            blob[at] = byte;
            let _ = Machine::parse(&blob);
        }

        #[test]
        fn much_damage_never_panics(
            words in collection::vec((0usize..1024, select(&[0, 1, 2, 3, 4, 9, 1 << 31, u32::MAX][..])), 1..8),
            length in 0usize..8192,
        ) {
            let mut blob = machine("", "arm,gic-v3");
            for (at, word) in words {
                let at = at * 4 % blob.len();
                blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
            }
            blob.truncate(length.max(8));
            let _ = (Console::parse(&blob), Machine::parse(&blob));
        }
    }
}
