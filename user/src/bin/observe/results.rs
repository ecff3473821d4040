//! What system calls write: the fields of structures that say the same on every kernel, or ought to.

use crate::world::{PAGE, READ_WRITE, REGULAR, Told, World, call};
use core::ffi::CStr;
use linux_raw_sys::general::{self as linux, stat};
use user::{Status, dirent, println, process, sys};

pub fn observe() -> i32 {
    let world = World::new();
    stats(&world);
    reading(&world);
    directory(&world);
    limits();
    names();
    clocks();
    waiting();
    descriptors();
    random();
    0
}

fn stats(world: &World) {
    let files = [("regular", world.regular), ("directory", world.directory), ("console", 1)];
    for (name, fd) in files {
        let place = world.put(0, [0u8; size_of::<stat>()]);
        let answer = call(linux::__NR_fstat, [fd as usize, place, 0, 0, 0, 0]);
        println!("results.stat.{name} {}", Told(answer));
        // SAFETY: put there just now; any bytes are a valid one.
        let stat = unsafe { core::ptr::with_exposed_provenance::<stat>(place).read() };
        println!("results.stat.{name}.type {:#o}", stat.st_mode & linux::S_IFMT);
        println!("results.stat.{name}.rights {:#o}", stat.st_mode & !linux::S_IFMT);
        println!("results.stat.{name}.owner {} {}", stat.st_uid, stat.st_gid);
        println!("results.stat.{name}.device {:#x}", stat.st_rdev);
        println!("results.stat.{name}.block {}", stat.st_blksize);
        println!("results.stat.{name}.inode {}", stat.st_ino != 0);
        if name == "regular" {
            println!("results.stat.{name}.links {}", stat.st_nlink);
            println!("results.stat.{name}.size {}", stat.st_size);
            println!("results.stat.{name}.blocks {}", stat.st_blocks);
        }
    }
}

/// What a series of reads and moves gives.
fn reading(world: &World) {
    let size = |whence| call(linux::__NR_lseek, [world.regular as usize, 0, whence as usize, 0, 0, 0]);
    let read = |length| call(linux::__NR_read, [world.regular as usize, world.good, length, 0, 0, 0]);
    let end = size(linux::SEEK_END);
    println!("results.read.size {}", Told(end));
    println!("results.read.at-end {}", Told(read(16)));
    let back = call(linux::__NR_lseek, [world.regular as usize, -3isize as usize, 2, 0, 0, 0]);
    println!("results.read.back {}", Told(back));
    println!("results.read.over-end {}", Told(read(16)));
    println!("results.read.position {}", Told(size(linux::SEEK_CUR)));
    println!("results.read.start {}", Told(size(linux::SEEK_SET)));
    println!("results.read.page {}", Told(read(PAGE)));
    println!("results.read.position-behind-page {}", Told(size(linux::SEEK_CUR)));
    // SAFETY: the file was read to there.
    let bytes = unsafe { core::ptr::with_exposed_provenance::<[u8; 4]>(world.good).read() };
    println!("results.read.bytes {bytes:?}");
}

fn directory(world: &World) {
    let (mut found, mut dots, mut files, mut sum) = (0, 0, 0, 0u64);
    let mut buffer = [0; 1024];
    let mut rounds = 0;
    while let Ok(used @ 1..) = sys::getdents64(world.directory, &mut buffer) {
        rounds += 1;
        for entry in dirent::entries(&buffer[..used]) {
            found += 1;
            let is_dot = [c".", c".."].contains(&entry.name);
            dots += u32::from(is_dot && entry.kind == linux::DT_DIR as u8);
            files += u32::from(!is_dot && entry.kind == linux::DT_REG as u8);
            // Whatever the order.
            let digest = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            sum = sum.wrapping_add(entry.name.to_bytes().iter().fold(0xcbf2_9ce4_8422_2325, digest));
        }
    }
    println!("results.directory {found} entries, {dots} dots, {files} files, names {sum:#x}, {}", rounds > 0);
    println!("results.directory.end {}", Told(sys::getdents64(world.directory, &mut buffer)));
}

/// Those of prlimit64, by number.
fn limits() {
    for resource in 0..16 {
        let mut limit = [0u64; 2];
        let place = (&raw mut limit).expose_provenance();
        let answer = call(linux::__NR_prlimit64, [0, resource, 0, place, 0, 0]);
        println!("results.limit.{resource} {} {:#x} {:#x}", Told(answer), limit[0], limit[1]);
    }
    let stack = linux::RLIMIT_STACK as usize;
    for (name, new) in
        [("less", [1u64 << 20, 8 << 20]), ("soft-over-hard", [9 << 20, 8 << 20]), ("more", [u64::MAX, u64::MAX])]
    {
        let place = (&raw const new).expose_provenance();
        println!("results.limit.set.{name} {}", Told(call(linux::__NR_prlimit64, [0, stack, place, 0, 0, 0])));
    }
}

fn names() {
    let name = sys::uname().expect("the system has a name");
    for (key, field) in [
        ("sysname", &name.sysname),
        ("nodename", &name.nodename),
        ("release", &name.release),
        ("version", &name.version),
        ("machine", &name.machine),
        ("domainname", &name.domainname),
    ] {
        let text = CStr::from_bytes_until_nul(field).unwrap_or_default();
        println!("results.uname.{key} {text:?}");
        println!("results.uname.{key}.rest {}", field[text.count_bytes()..].iter().all(|&byte| byte == 0));
    }
}

fn clocks() {
    for clock in 0..12usize {
        let mut time = [0u64; 2];
        let place = (&raw mut time).expose_provenance();
        let answer = call(linux::__NR_clock_getres, [clock, place, 0, 0, 0, 0]);
        println!("results.resolution.{clock} {} {} {}", Told(answer), time[0], time[1]);
        let mut times = [[0u64; 2]; 2];
        let answers = times
            .each_mut()
            .map(|time| call(linux::__NR_clock_gettime, [clock, (&raw mut *time).expose_provenance(), 0, 0, 0, 0]));
        let rises = times[0] <= times[1] && times.iter().all(|time| time[1] < sys::SECOND);
        println!("results.clock.{clock} {} rises: {rises}", Told(answers[1]));
    }
}

fn waiting() {
    let child = process::spawn(|| 5).expect("a child can be started");
    let mut usage = [0xa5u8; 256];
    let mut word = 0u32;
    let place = (&raw mut word).expose_provenance();
    let answer = call(linux::__NR_wait4, [usize::MAX, place, 0, (&raw mut usage).expose_provenance(), 0, 0]);
    println!("results.wait.any {} {word:#x}", answer == Ok(child as usize));
    // The padding behind it is not.
    let written = usage.iter().rposition(|&byte| byte != 0xa5).map_or(0, |last| last + 1);
    println!("results.wait.usage {written} bytes");
    println!("results.wait.again {}", Told(call(linux::__NR_wait4, [usize::MAX, 0, 0, 0, 0, 0])));
    // A child's child is not one's own, and becomes the first process's.
    let orphan = process::run(|| {
        let child = process::spawn(|| {
            sys::nanosleep(sys::SECOND / 50).expect("time passes");
            i32::from(sys::getppid() != 1)
        });
        i32::from(child.is_err())
    });
    println!(
        "results.wait.grandchild {} {}",
        orphan == Ok(Status::Exited(0)),
        Told(call(linux::__NR_wait4, [usize::MAX, 0, 0, 0, 0, 0]))
    );
}

/// The lowest that is free is taken; what is closed is closed; what a fork shares has one position.
fn descriptors() {
    let open = || sys::open(REGULAR).unwrap_or(-1);
    let [first, second, third] = [open(), open(), open()];
    let closed = sys::close(second).is_ok();
    let again = open();
    println!("results.descriptors {} {} {} {}", second - first, third - first, again - first, closed);
    let moved = process::run(|| i32::from(call(linux::__NR_lseek, [first as usize, 77, 0, 0, 0, 0]) != Ok(77)));
    let position = call(linux::__NR_lseek, [first as usize, 0, linux::SEEK_CUR as usize, 0, 0, 0]);
    println!("results.descriptors.shared {} {}", moved == Ok(Status::Exited(0)), Told(position));
    let mut count = 0;
    while count < 5000 && open() >= 0 {
        count += 1;
    }
    println!(
        "results.descriptors.full {}",
        Told(call(linux::__NR_openat, [usize::MAX, REGULAR.as_ptr().expose_provenance(), 0, 0, 0, 0]))
    );
    println!("results.descriptors.most {count}");
}

/// Random bytes are no two alike.
fn random() {
    let page = sys::mmap(PAGE, READ_WRITE).expect("a page can be mapped").expose_provenance();
    let answers = [0, 64].map(|at| call(linux::__NR_getrandom, [page + at, 64, 0, 0, 0, 0]));
    // SAFETY: mapped just now, and written.
    let bytes = unsafe { core::ptr::with_exposed_provenance::<[[u8; 64]; 2]>(page).read() };
    println!("results.random {} {} {}", Told(answers[0]), Told(answers[1]), bytes[0] != bytes[1]);
}
