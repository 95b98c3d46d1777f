//! Writes everything that is generated from the types: definitions, and the reference pages of the docs. Does I/O: files.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use nova_operator::reference;

use crate::crds;

/// Writes the definitions to `<out>/crds` and the reference pages to `<out>/reference`.
pub fn write(out: &Path) -> Result<()> {
    crds::write(Some(&out.join("crds")))?;
    let folder = out.join("reference");
    fs::create_dir_all(&folder).with_context(|| format!("folder {} cannot be made", folder.display()))?;
    for (file, text) in [("kinds.md", reference::kinds()), ("metrics.md", reference::metrics())] {
        fs::write(folder.join(file), text).with_context(|| format!("{file} cannot be written"))?;
    }
    Ok(())
}
