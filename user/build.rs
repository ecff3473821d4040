//! Hands the programs' memory map to the linker.

fn main() {
    println!("cargo:rerun-if-changed=../linker/user.ld");
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rustc-link-arg-bins=-T{root}/../linker/user.ld");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
}
