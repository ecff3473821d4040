//! Which guests there are: the text that the tool on the host packs beside their files.
//!
//! Lines of a key, a space and a value; a line `guest` begins the next one. The value is the rest of the line as it is:
//! there is no quoting, and nothing but a line's end that a value cannot hold. [`Guest`] displays itself as these
//! lines.
//!
//! ```
//! let text = "guest left\nimage kernel.bin\nappend init=/demo loglevel=7\nguest right\nimage vmlinuz\nvcpus 2\n";
//! let guests = hyp::config::guests(text).unwrap();
//! assert_eq!((guests[0].name, guests[0].append, guests[0].vcpus), ("left", "init=/demo loglevel=7", 1));
//! assert_eq!((guests[1].image, guests[1].vcpus), ("vmlinuz", 2));
//! ```

use crate::service::Plan;
use core::fmt;
use core::ops::RangeInclusive;
use heapless::Vec;

/// The most guests there can be.
pub const GUESTS_MAX: usize = 8;
/// The longest name of a guest, in bytes: as long as a console's token may be.
pub const NAME_MAX: usize = 16;
/// How much memory a guest may have, in MiB.
pub const MEMORY_MIB: RangeInclusive<u32> = 64..=1024;
/// How many vCPUs a guest may have: GICv2 has no more.
pub const VCPUS: RangeInclusive<u8> = 1..=8;

/// What is done about SErrors that a guest leaves pending (Xen's boot argument `serrors`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serrors {
    /// They are taken on each entry from the guest, and charged to it.
    #[default]
    Diverse,
    /// Entries do not look for them; one that comes later stops the hypervisor.
    Panic,
}

/// A guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest<'a> {
    /// `guest`: its name, which none of the others has.
    pub name: &'a str,
    /// `image`: the file with its image.
    pub image: &'a str,
    /// `dtb`: the file with its device tree; else one is made for it.
    pub dtb: Option<&'a str>,
    /// `initrd`: the file with its initramfs.
    pub initrd: Option<&'a str>,
    /// `append`: its boot arguments.
    pub append: &'a str,
    /// `memory`: its RAM in MiB.
    pub memory_mib: u32,
    /// `vcpus`: how many.
    pub vcpus: u8,
    /// `serrors`: `diverse` or `panic`.
    pub serrors: Serrors,
    /// `device`: what a device of the machine is compatible with, in its device tree, that the guest has to itself.
    pub device: Option<&'a str>,
    /// `service`: the test service is on, and has this plan.
    pub service: Option<Plan>,
}

impl Serrors {
    /// Reads `diverse` or `panic`.
    pub fn parse(text: &str) -> Option<Serrors> {
        [Serrors::Diverse, Serrors::Panic].into_iter().find(|serrors| serrors.name() == text)
    }

    /// As [`parse`](Serrors::parse) reads it.
    const fn name(self) -> &'static str {
        match self {
            Serrors::Diverse => "diverse",
            Serrors::Panic => "panic",
        }
    }
}

impl<'a> Guest<'a> {
    /// A guest with the values of keys that are not given.
    pub const fn new(name: &'a str, image: &'a str) -> Guest<'a> {
        Guest {
            name,
            image,
            dtb: None,
            initrd: None,
            append: "",
            memory_mib: 256,
            vcpus: 1,
            serrors: Serrors::Diverse,
            device: None,
            service: None,
        }
    }
}

/// What is wrong with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the description of the guests: {}", self.line, self.why)
    }
}

/// The guests that `text` describes, at least one.
pub fn guests(text: &str) -> Result<Vec<Guest<'_>, GUESTS_MAX>, Error> {
    let mut guests = Vec::<Guest<'_>, GUESTS_MAX>::new();
    // The keys that the last guest has.
    let mut seen = Vec::<&str, 16>::new();
    let mut last = 0;
    for (number, line) in text.split('\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        last = number + 1;
        let error = |why| Error { line: last, why };
        let (key, value) = line.split_once(' ').ok_or(error("a key without a value"))?;
        if key == "guest" {
            complete(guests.last(), number)?;
            check_name(value, &guests).map_err(error)?;
            guests.push(Guest::new(value, "")).map_err(|_| error("too many guests"))?;
            seen.clear();
            continue;
        }
        let guest = guests.last_mut().ok_or(error("the first line names no guest"))?;
        match key {
            "image" if !value.is_empty() => guest.image = value,
            "dtb" if !value.is_empty() => guest.dtb = Some(value),
            "initrd" if !value.is_empty() => guest.initrd = Some(value),
            "image" | "dtb" | "initrd" => return Err(error("a file without a name")),
            "device" if !value.is_empty() => guest.device = Some(value),
            "append" => guest.append = value,
            "memory" => {
                let size = value.parse().ok().filter(|size| MEMORY_MIB.contains(size));
                guest.memory_mib = size.ok_or(error("memory is 64 to 1024 MiB"))?;
            }
            "vcpus" => {
                let count = value.parse().ok().filter(|count| VCPUS.contains(count));
                guest.vcpus = count.ok_or(error("there can be 1 to 8 vCPUs"))?;
            }
            "serrors" => guest.serrors = Serrors::parse(value).ok_or(error("serrors is diverse or panic"))?,
            "service" => {
                guest.service = Some(Plan::parse(value).ok_or(error("service is `on`, or when SErrors come"))?);
            }
            _ => return Err(error("no such key")),
        }
        // There are fewer keys than it holds.
        if seen.contains(&key) || seen.push(key).is_err() {
            return Err(error("a key that the guest already has"));
        }
    }
    complete(guests.last(), last)?;
    if guests.is_empty() { Err(Error { line: 1, why: "there is no guest" }) } else { Ok(guests) }
}

/// Whether the guest that ends at `line`, if there is one, has what it must have.
fn complete(guest: Option<&Guest<'_>>, line: usize) -> Result<(), Error> {
    match guest {
        Some(guest) if guest.image.is_empty() => Err(Error { line, why: "the guest that ends here has no image" }),
        _ => Ok(()),
    }
}

/// What the hypervisor is called where guests have names: before its lines on the console, and in tokens.
pub const OWN_NAME: &str = "hyp";

/// A name is shown in tokens on the console, `[<name:address>]`, and before lines, `name| `, and may not break them.
fn check_name(name: &str, guests: &[Guest<'_>]) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_MAX {
        Err("a name has 1 to 16 bytes")
    } else if name == OWN_NAME {
        Err("the name is the hypervisor's own")
    } else if name.contains(|c: char| c.is_control() || ":<>|".contains(c)) {
        Err("a name has no control characters, and none of : < > |")
    } else if guests.iter().any(|guest| guest.name == name) {
        Err("a name that another guest has")
    } else {
        Ok(())
    }
}

impl fmt::Display for Guest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guest { name, image, dtb, initrd, append, memory_mib, vcpus, serrors, device, service } = self;
        writeln!(f, "guest {name}\nimage {image}")?;
        for (key, file) in [("dtb", dtb), ("initrd", initrd), ("device", device)] {
            file.map_or(Ok(()), |file| writeln!(f, "{key} {file}"))?;
        }
        writeln!(f, "append {append}\nmemory {memory_mib}\nvcpus {vcpus}\nserrors {}", serrors.name())?;
        service.map_or(Ok(()), |plan| writeln!(f, "service {plan}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{string::String, string::ToString};

    #[test]
    fn defaults() {
        let guests = guests("guest one\nimage a file").unwrap();
        assert_eq!(guests, [Guest::new("one", "a file")]);
    }

    #[test]
    fn every_key() {
        let text = "guest g\nimage i\ndtb d\ninitrd r\nappend  a=\"b c\" \nmemory 1024\nvcpus 8\nserrors panic\ndevice arm,pl031\nservice on\n\n";
        let expected = Guest {
            dtb: Some("d"),
            initrd: Some("r"),
            append: " a=\"b c\" ",
            memory_mib: 1024,
            vcpus: 8,
            serrors: Serrors::Panic,
            device: Some("arm,pl031"),
            service: Some(Plan::default()),
            ..Guest::new("g", "i")
        };
        assert_eq!(guests(text).unwrap(), [expected]);
    }

    #[test]
    fn what_is_refused_and_where() {
        for (text, line) in [
            ("", 1),
            ("image i", 1),
            ("guest\nimage i", 1),
            ("guest \nimage i", 1),
            ("guest 12345678901234567\nimage i", 1),
            ("guest a:b\nimage i", 1),
            ("guest a| b\nimage i", 1),
            ("guest hyp\nimage i", 1),
            ("guest a\tb\nimage i", 1),
            ("guest a", 1),
            ("guest a\nguest b\nimage i", 1),
            ("guest a\nimage i\nguest a\nimage i", 3),
            ("guest a\nimage i\nimage j", 3),
            ("guest a\nimage ", 2),
            ("guest a\nimage i\ndtb ", 3),
            ("guest a\nimage i\nmemory 63", 3),
            ("guest a\nimage i\nmemory 1025", 3),
            ("guest a\nimage i\nmemory 256M", 3),
            ("guest a\nimage i\nvcpus 0", 3),
            ("guest a\nimage i\nvcpus 9", 3),
            ("guest a\nimage i\nserrors maybe", 3),
            ("guest a\nimage i\nservice off", 3),
            ("guest a\n\nimage i\ncolour blue", 4),
            ("guest a\nimage i\nappend", 3),
            ("guest a\nimage i\ndevice ", 3),
        ] {
            assert_eq!(guests(text).map_err(|error| error.line), Err(line), "{text:?}");
        }
        let many = |count| (0..count).map(|n| Guest::new(&n.to_string(), "i").to_string()).collect::<String>();
        assert_eq!(guests(&many(8)).unwrap().len(), 8);
        assert_eq!(guests(&many(9)).unwrap_err().line, 8 * 6 + 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[^\\p{Cc}:<>|]{1,5}", image in "[^\n]{1,20}", dtb in prop::option::of("[^\n]{1,9}"),
            initrd in prop::option::of("[^\n]{1,9}"), append in "[^\n]{0,40}", memory_mib in MEMORY_MIB, vcpus in VCPUS,
            panic: bool, device in prop::option::of("[^\n]{1,9}"), service: Option<u64>,
        ) {
            prop_assume!(name.len() <= NAME_MAX);
            let serrors = if panic { Serrors::Panic } else { Serrors::Diverse };
            let (dtb, initrd, device) = (dtb.as_deref(), initrd.as_deref(), device.as_deref());
            let append = append.as_str();
            let service = service.map(|after| Plan { after: Some(after), ..Plan::default() });
            let guest =
                Guest { name: &name, image: &image, dtb, initrd, append, memory_mib, vcpus, serrors, device, service };
            let text = guest.to_string() + &Guest::new("another", "i").to_string();
            prop_assert_eq!(guests(&text).unwrap()[0], guest);
        }

        #[test]
        fn any_text_is_survived(text in "((guest|image|dtb|append|memory|vcpus|serrors|device|service|[a-z]*) ?[^\n]{0,9}\n?){0,12}") {
            if let Ok(guests) = guests(&text) {
                prop_assert!(guests.iter().all(|guest| !guest.image.is_empty() && VCPUS.contains(&guest.vcpus)));
            }
        }
    }
}
