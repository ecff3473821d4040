//! Hands the guests' memory map to the linker.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/guest.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
