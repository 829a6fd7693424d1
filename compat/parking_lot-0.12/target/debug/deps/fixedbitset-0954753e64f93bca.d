/work/main/compat/parking_lot-0.12/target/debug/deps/fixedbitset-0954753e64f93bca.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/lib.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/mod.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/sse2.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/range.rs

/work/main/compat/parking_lot-0.12/target/debug/deps/libfixedbitset-0954753e64f93bca.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/lib.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/mod.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/sse2.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/range.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/lib.rs:
/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/mod.rs:
/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/block/sse2.rs:
/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/fixedbitset-0.5.9/src/range.rs:
