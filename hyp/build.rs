//! Links the hypervisor by its memory map.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../linker/hyp.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
