//! The device tree of a guest: what the hypervisor gives it ([`hyp::map`]), in the words of QEMU's `virt`.

use super::Device;
use ::hyp::map;
use anyhow::{Context, Result};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use std::ops::Range;

/// What differs between guests.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// Bytes of its RAM.
    pub ram: u64,
    /// Its vCPUs.
    pub vcpus: u8,
    /// The version of its interrupt controller.
    pub gic: u8,
    /// Its boot arguments.
    pub bootargs: &'a str,
    /// Where its initramfs lies, if it has one.
    pub initrd: Option<Range<u64>>,
    /// The device of the machine that it has to itself.
    pub device: Option<Device>,
}

/// Handles by which nodes speak of others.
const GIC: u32 = 1;
const CLOCK: u32 = 2;

// Kinds and flags of interrupts in the binding of the GIC.
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL: u32 = 4;

/// The device tree, as a blob.
pub fn tree(guest: &Guest<'_>) -> Result<Vec<u8>> {
    build(guest).context("the device tree of a guest cannot be made")
}

fn build(guest: &Guest<'_>) -> Result<Vec<u8>> {
    let mut chosen = vec![("bootargs", text(guest.bootargs)), ("stdout-path", text("/pl011@9000000"))];
    if let Some(initrd) = &guest.initrd {
        chosen.push(("linux,initrd-start", cells(&[initrd.start])));
        chosen.push(("linux,initrd-end", cells(&[initrd.end])));
    }
    let mut cpus = node("cpus", &[("#address-cells", words(&[1])), ("#size-cells", words(&[0]))])?;
    for id in 0..guest.vcpus {
        let properties = [
            ("device_type", text("cpu")),
            ("compatible", text("arm,armv8")),
            ("reg", words(&[id.into()])),
            ("enable-method", text("psci")),
        ];
        cpus.add_child(node(&format!("cpu@{id:x}"), &properties)?);
    }
    let (compatible, reg) = match guest.gic {
        2 => ("arm,cortex-a15-gic", cells(&[map::GICD, 0x1000, map::GICC, 0x1000])),
        _ => ("arm,gic-v3", cells(&[map::GICD, 0x1_0000, map::GICR, map::GICR_SIZE * u64::from(guest.vcpus)])),
    };
    // In the timer's order: secure and non-secure physical, virtual, hypervisor's.
    let timer = [13, 14, 11, 10].map(|ppi| [PPI, ppi, 0xf00 | LEVEL]).concat();
    let uart = [text("arm,pl011"), text("arm,primecell")].concat();
    let mut tree = DeviceTree::new();
    let root = [
        ("compatible", text("linux,dummy-virt")),
        ("#address-cells", words(&[2])),
        ("#size-cells", words(&[2])),
        ("interrupt-parent", words(&[GIC])),
    ];
    tree.root = node("", &root)?;
    for node in [
        node("chosen", &chosen)?,
        node("memory@40000000", &[("device_type", text("memory")), ("reg", cells(&[map::RAM, guest.ram]))])?,
        cpus,
        node(
            "psci",
            &[("compatible", [text("arm,psci-1.0"), text("arm,psci-0.2")].concat()), ("method", text("hvc"))],
        )?,
        node(
            "intc@8000000",
            &[
                ("compatible", text(compatible)),
                ("interrupt-controller", Vec::new()),
                ("#interrupt-cells", words(&[3])),
                ("reg", reg),
                ("phandle", words(&[GIC])),
            ],
        )?,
        node(
            "timer",
            &[("compatible", text("arm,armv8-timer")), ("interrupts", words(&timer)), ("always-on", Vec::new())],
        )?,
        node(
            "apb-pclk",
            &[
                ("compatible", text("fixed-clock")),
                ("#clock-cells", words(&[0])),
                ("clock-frequency", words(&[24_000_000])),
                ("phandle", words(&[CLOCK])),
            ],
        )?,
        node(
            "pl011@9000000",
            &[
                ("compatible", uart),
                ("reg", cells(&[map::UART, 0x1000])),
                ("interrupts", words(&[SPI, map::UART_IRQ - 32, LEVEL])),
                ("clocks", words(&[CLOCK, CLOCK])),
                ("clock-names", [text("uartclk"), text("apb_pclk")].concat()),
            ],
        )?,
        node("pvpanic-mmio@9060000", &[("compatible", text("qemu,pvpanic-mmio")), ("reg", cells(&[map::PVPANIC, 2]))])?,
    ] {
        tree.root.add_child(node);
    }
    match guest.device {
        Some(Device::Pl031) => tree.root.add_child(node(
            "pl031@9010000",
            &[
                ("compatible", [text(Device::Pl031.compatible()), text("arm,primecell")].concat()),
                ("reg", cells(&[0x901_0000, 0x1000])),
                ("interrupts", words(&[SPI, 2, LEVEL])),
                ("clocks", words(&[CLOCK])),
                ("clock-names", text("apb_pclk")),
            ],
        )?),
        None => {}
    }
    Ok(tree.to_dtb())
}

fn node(name: &str, properties: &[(&str, Vec<u8>)]) -> Result<DeviceTreeNode> {
    let mut node = DeviceTreeNode::new(name).map_err(|error| anyhow::anyhow!("node {name}: {error:?}"))?;
    for (name, value) in properties {
        let property = DeviceTreeProperty::new(*name, value.as_slice());
        node.add_property(property.map_err(|error| anyhow::anyhow!("property {name}: {error:?}"))?);
    }
    Ok(node)
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Numbers of two cells.
fn cells(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivers::dt::{Conduit, Gic, Machine, Region};

    #[test]
    fn the_kernel_reads_what_the_hypervisor_gives() {
        for gic in [2, 3] {
            let guest = Guest {
                ram: 64 << 20,
                vcpus: 3,
                gic,
                bootargs: "a \"b c\"",
                initrd: Some(0x4200_0000..0x4200_1234),
                device: Some(Device::Pl031),
            };
            let blob = tree(&guest).unwrap();
            let machine = Machine::parse(&blob).unwrap();
            let region = |base, size| Region { base, size };
            assert_eq!(machine.memory[..], [region(map::RAM, 64 << 20)]);
            assert_eq!(machine.initrd, Some(region(0x4200_0000, 0x1234)));
            assert_eq!((machine.cpus, machine.timer_irq, machine.uart_irq), (3, 27, 33));
            assert_eq!(drivers::dt::device(&blob, "arm,pl031"), Some((region(0x901_0000, 0x1000), 34)));
            assert!(drivers::dt::cpus(&blob).eq([0, 1, 2]));
            let console = machine.console;
            assert_eq!((console.uart, console.clock), (region(0x900_0000, 0x1000), Some(24_000_000)));
            assert_eq!(machine.pvpanic, Some(region(0x906_0000, 2)));
            assert_eq!((console.psci, console.bootargs), (Some(Conduit::Hvc), guest.bootargs));
            match machine.gic {
                Gic::V2 { gicd, gicc, virtualization } => {
                    assert_eq!((gicd.base, gicc.base, virtualization), (0x800_0000, 0x801_0000, None));
                }
                Gic::V3 { gicd, gicr } => assert_eq!((gicd.base, gicr), (0x800_0000, region(0x80a_0000, 0x6_0000))),
            }
            assert_eq!(matches!(machine.gic, Gic::V2 { .. }), gic == 2);
        }
    }
}
