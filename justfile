# The words of `cargo xtask`, for those who type `just`. Everything after a word is passed on.

[private]
default:
    @just --list --unsorted

# The whole thing on this machine: build, start, install, apply the quickstart, show (--once: and exit)
demo *args:
    cargo xtask demo {{ args }}

# Everything CI runs beyond `check`
test *args:
    cargo xtask test {{ args }}

# Formatting, lints, each crate alone, dependencies, generated files
check *args:
    cargo xtask check {{ args }}

# Write what is generated: crds/ and the chart's copy of it
gen *args:
    cargo xtask gen {{ args }}

# A control plane to play with; prints the path of its kubeconfig
up *args:
    cargo xtask up {{ args }}

# Stop it
down *args:
    cargo xtask down {{ args }}

# Time, writes and memory for many apps, next to a bare client
bench *args:
    cargo xtask bench {{ args }}
