//! The programs of the control plane: which module and package each comes from and how it is built. Does I/O.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{cache, go};

/// A program of the control plane and the tool module that pins it.
pub struct Component {
    /// The program's name.
    pub name: &'static str,
    /// The folder of its tool module under `e2e/controlplane`.
    pub folder: &'static str,
    /// The Go module whose version is the program's version.
    pub module: &'static str,
    /// The package that is built.
    pub package: &'static str,
    /// Linker definitions; `VERSION` stands for the module's version, `MINOR` for its minor number.
    pub definitions: &'static [&'static str],
    /// A change to the source, for what cannot be set from outside.
    pub patch: Option<Patch>,
}

/// One replacement in one file of the module.
pub struct Patch {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const KUBERNETES: &[&str] = &[
    "k8s.io/component-base/version.gitVersion=VERSION",
    "k8s.io/component-base/version.gitMajor=1",
    "k8s.io/component-base/version.gitMinor=MINOR",
    "k8s.io/component-base/version.gitTreeState=archive",
    "k8s.io/client-go/pkg/version.gitVersion=VERSION",
];

const fn kubernetes(name: &'static str, package: &'static str) -> Component {
    Component {
        name,
        folder: "kubernetes",
        module: "k8s.io/kubernetes",
        package,
        definitions: KUBERNETES,
        patch: None,
    }
}

/// Everything that is built, cheap ones first so that a broken set-up shows early.
pub const COMPONENTS: &[Component] = &[
    Component {
        name: "etcd",
        folder: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        package: "go.etcd.io/etcd/server/v3",
        definitions: &[],
        patch: None,
    },
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Component {
        name: "kwok",
        folder: "kwok",
        module: "sigs.k8s.io/kwok",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        definitions: &[],
        patch: None,
    },
    Component {
        name: "capsule",
        folder: "capsule",
        module: "github.com/projectcapsule/capsule",
        package: "github.com/projectcapsule/capsule/cmd/controller",
        definitions: &[],
        // Capsule serves its health on a fixed port, so a second control plane on the same machine would not
        // come up. Nothing else of it is touched.
        patch: Some(Patch {
            file: "cmd/controller/main.go",
            from: "HealthProbeBindAddress:  \":10080\"",
            to: "HealthProbeBindAddress:  os.Getenv(\"CAPSULE_HEALTH_ADDRESS\")",
        }),
    },
    Component {
        name: "vela-core",
        folder: "kubevela",
        module: "github.com/oam-dev/kubevela",
        package: "github.com/oam-dev/kubevela/cmd/core",
        definitions: &["github.com/oam-dev/kubevela/version.VelaVersion=VERSION"],
        patch: None,
    },
    Component {
        name: "helm",
        folder: "helm",
        module: "helm.sh/helm/v4",
        package: "helm.sh/helm/v4/cmd/helm",
        definitions: &[],
        patch: None,
    },
];

/// The folder of a tool module.
pub fn tool_module(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/controlplane").join(folder)
}

/// The version that a tool module pins for `module`.
pub fn pinned_version(folder: &str, module: &str) -> Result<String> {
    let path = tool_module(folder).join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, _)| *name == module)
        .and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned))
        .with_context(|| format!("{path:?} does not require {module:?}"))
}

/// A short hash of a tool module's lock files and whatever else changes the result.
pub fn fingerprint(folders: &[&str], extra: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    for folder in folders {
        for file in ["go.mod", "go.sum"] {
            let path = tool_module(folder).join(file);
            hash.update(fs::read(&path).with_context(|| format!("read {path:?}"))?);
        }
    }
    for text in extra.iter().chain(&[std::env::consts::OS, std::env::consts::ARCH]) {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let head = digest.first_chunk::<6>().context("a digest is longer than six bytes")?;
    Ok(head.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// A component at its pinned version, and where its program is or will be.
pub struct Program {
    /// Which.
    pub component: &'static Component,
    /// As in `go.mod`, for example `v1.36.3`.
    pub version: String,
    /// The program's file.
    pub path: PathBuf,
    /// Whether `KUBEBUILDER_ASSETS` gives it, so that it is not built.
    pub given: bool,
}

impl Component {
    /// Finds the program's place in the cache `root`, or in `KUBEBUILDER_ASSETS`.
    pub fn locate(&'static self, root: &Path) -> Result<Program> {
        let version = pinned_version(self.folder, self.module)?;
        let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty());
        if let Some(dir) = given
            && ["etcd", "kube-apiserver", "kubectl"].contains(&self.name)
        {
            return Ok(Program {
                component: self,
                version,
                path: Path::new(&dir).join(self.name),
                given: true,
            });
        }
        let change = self.patch.as_ref().map_or("", |patch| patch.to);
        let key = fingerprint(&[self.folder], &[self.package, &self.ldflags(&version), change])?;
        let path = root.join(format!("{}-{version}-{key}", self.name)).join(self.name);
        Ok(Program { component: self, version, path, given: false })
    }

    fn ldflags(&self, version: &str) -> String {
        let minor = version.split('.').nth(1).unwrap_or_default();
        let definitions = self.definitions.iter().map(|definition| format!(" -X {definition}"));
        format!(
            "-s -w{}",
            definitions.collect::<String>().replace("VERSION", version).replace("MINOR", minor)
        )
    }
}

impl Program {
    /// Builds it into the cache. The caller holds the builder's lock.
    pub fn build(&self, root: &Path) -> Result<()> {
        let target = self.path.parent().context("a program lies in a folder")?;
        let staged = cache::stage(root, target)?;
        let dir = tool_module(self.component.folder);
        let source = staged.path().join("source");
        let modfile = match &self.component.patch {
            Some(patch) => Some(self.patched(patch, &dir, &source)?),
            None => None,
        };
        go::build(&go::Package {
            dir: &dir,
            import_path: self.component.package,
            ldflags: &self.component.ldflags(&self.version),
            modfile: modfile.as_deref(),
            output: &staged.path().join(self.component.name),
        })
        .with_context(|| format!("build {} {}", self.component.name, self.version))?;
        if source.exists() {
            fs::remove_dir_all(&source).with_context(|| format!("remove {source:?}"))?;
        }
        staged.publish()
    }

    /// Copies the module's text to `source` with the patch in it, and writes a `go.mod` that points there.
    fn patched(&self, patch: &Patch, dir: &Path, source: &Path) -> Result<PathBuf> {
        let tree = source.join("tree");
        copy_tree(&go::module_dir(dir, self.component.module)?, &tree)?;
        let file = tree.join(patch.file);
        let text = fs::read_to_string(&file).with_context(|| format!("read {file:?}"))?;
        if !text.contains(patch.from) {
            bail!("{file:?} has no {:?}: look how {} sets this now", patch.from, self.version);
        }
        fs::write(&file, text.replace(patch.from, patch.to)).with_context(|| format!("write {file:?}"))?;
        let modfile = source.join("go.mod");
        let mut text = fs::read_to_string(dir.join("go.mod")).context("read go.mod")?;
        text = format!("{text}\nreplace {} => {}\n", self.component.module, tree.display());
        fs::write(&modfile, text).with_context(|| format!("write {modfile:?}"))?;
        fs::copy(dir.join("go.sum"), source.join("go.sum")).context("copy go.sum")?;
        Ok(modfile)
    }
}

/// Copies the files of a folder. The copies are writable, which those of the module cache are not.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {to:?}"))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {from:?}"))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            let text = fs::read(entry.path()).with_context(|| format!("read {:?}", entry.path()))?;
            fs::write(&target, text).with_context(|| format!("write {target:?}"))?;
        }
    }
    Ok(())
}
