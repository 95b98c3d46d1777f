//! Builds the control plane's programs and texts into a cache folder, once. Does I/O: runs Go, writes the cache.

mod assets;
mod cache;
mod component;
mod go;
mod progress;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

pub use assets::{Assets, CAPSULE_CA, CAPSULE_URL};

use component::{COMPONENTS, Program};

/// Where every program of the control plane lies, and the texts (CRDs, charts, stages) it is configured with.
#[derive(Clone, Debug)]
pub struct Built {
    /// `etcd`, from `KUBEBUILDER_ASSETS` if that is set.
    pub etcd: PathBuf,
    /// `kube-apiserver`, from `KUBEBUILDER_ASSETS` if that is set.
    pub kube_apiserver: PathBuf,
    /// `kube-controller-manager`.
    pub kube_controller_manager: PathBuf,
    /// `kube-scheduler`.
    pub kube_scheduler: PathBuf,
    /// `kubectl`, from `KUBEBUILDER_ASSETS` if that is set.
    pub kubectl: PathBuf,
    /// KWOK, which simulates nodes and the lives of their pods.
    pub kwok: PathBuf,
    /// Capsule's controller.
    pub capsule: PathBuf,
    /// KubeVela's controller.
    pub vela_core: PathBuf,
    /// The Helm client, to render charts.
    pub helm: PathBuf,
    /// The rendered manifests of Capsule and Vela, and KWOK's stages.
    pub assets: Assets,
}

/// The folder that holds what is built: `$KUBENOVA_CONTROLPLANE`, or `kubenova/controlplane` in the user's cache.
pub fn cache_dir() -> Result<PathBuf> {
    cache::dir()
}

/// Builds whatever is missing from the cache and says where everything is.
///
/// Prints progress on stderr only when there is something to build; otherwise it takes some milliseconds.
/// Two processes that call this at once do the work once: the second waits for the first.
///
/// # Errors
/// When Go is missing or too old (the first line says what to install), when a build fails (with the end of the
/// compiler's output), or when `KUBEBUILDER_ASSETS` names a folder without the programs expected there.
pub fn ensure() -> Result<Built> {
    let root = cache::dir()?;
    let assets_key = assets::key()?;
    let programs: Vec<Program> =
        COMPONENTS.iter().map(|component| component.locate(&root)).collect::<Result<_>>()?;
    if programs.iter().any(|program| !program.path.is_file()) || !assets::present(&root, &assets_key) {
        build_missing(&root, &programs, &assets_key)?;
    }
    let find = |name: &str| -> Result<PathBuf> {
        let program = programs.iter().find(|program| program.component.name == name);
        Ok(program.with_context(|| format!("the control plane has no program {name:?}"))?.path.clone())
    };
    Ok(Built {
        etcd: find("etcd")?,
        kube_apiserver: find("kube-apiserver")?,
        kube_controller_manager: find("kube-controller-manager")?,
        kube_scheduler: find("kube-scheduler")?,
        kubectl: find("kubectl")?,
        kwok: find("kwok")?,
        capsule: find("capsule")?,
        vela_core: find("vela-core")?,
        helm: find("helm")?,
        assets: Assets::open(&root, &assets_key),
    })
}

fn build_missing(root: &std::path::Path, programs: &[Program], assets_key: &str) -> Result<()> {
    // Go is looked for first, so that the first line of output says what is missing.
    go::require()?;
    let _lock = cache::lock(root)?;
    // Another process may have built some of them while this one waited for the lock.
    let missing: Vec<&Program> = programs.iter().filter(|program| !program.path.is_file()).collect();
    if let Some(given) = missing.iter().find(|program| program.given) {
        bail!(
            "KUBEBUILDER_ASSETS has no {name}: {path:?} is missing; unset the variable to have it built",
            name = given.component.name,
            path = given.path
        );
    }
    let progress = progress::Progress::new(missing.len() + usize::from(!assets::present(root, assets_key)));
    for program in missing {
        let step = progress.step(&format!("{} {}", program.component.name, program.version));
        program.build(root)?;
        step.done();
    }
    if !assets::present(root, assets_key) {
        let step = progress.step("charts, CRDs and stages");
        let helm = programs.iter().find(|program| program.component.name == "helm");
        assets::bake(root, assets_key, &helm.context("the control plane has no program \"helm\"")?.path)?;
        step.done();
    }
    progress.finish(root);
    Ok(())
}
