//! Where libammpl.so is: in $AMMPL_LIB_DIR, or where pkg-config says.
use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=AMMPL_LIB_DIR");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rustc-link-lib=dylib=ammpl");
    if let Ok(folder) = env::var("AMMPL_LIB_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        return;
    }
    match Command::new("pkg-config").args(["--libs-only-L", "ammpl"]).output() {
        Ok(answer) if answer.status.success() => {
            for flag in String::from_utf8_lossy(&answer.stdout).split_whitespace() {
                println!("cargo:rustc-link-search=native={}", flag.trim_start_matches("-L"));
            }
        }
        _ => panic!(
            "libammpl is not found: install it so that pkg-config knows ammpl, or set AMMPL_LIB_DIR to its folder"
        ),
    }
}
