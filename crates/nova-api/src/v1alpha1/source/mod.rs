//! Where an app comes from: the list of sources, and what follows from it. No I/O.

mod container_image;
mod git_repo;
mod helm_http;
mod helm_oci;
mod kube_manifest;
mod vela_template;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    container_image::*, git_repo::*, helm_http::*, helm_oci::*, kube_manifest::*, vela_template::*,
};
use crate::rules;

/// THE list of sources, one line each: kind and type, member of the source, its word in the spec, what it is.
/// It is handed to the macro that is named, so that whoever has something to do for each source cannot forget one.
#[macro_export]
macro_rules! each_source {
    ($expand:ident) => {
        $expand! {
            HelmHttp, helm_http, "helmHttp", "A chart from a Helm repository.";
            HelmOci, helm_oci, "helmOci", "A chart from an OCI registry.";
            VelaTemplate, vela_template, "velaTemplate", "A `KubeVela` component by its name.";
            KubeManifest, kube_manifest, "kubeManifest", "Kubernetes objects as they are.";
            ContainerImage, container_image, "containerImage", "A container image, run as a service.";
            GitRepo, git_repo, "gitRepo", "A folder of a Git repository.";
        }
    };
}

macro_rules! sources {
    ($($Source:ident, $member:ident, $word:tt, $what:tt;)+) => {
        /// Kind of a source: the name of the one member of the source that is set.
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum SourceKind {
            $(#[doc = $what] $Source,)+
        }

        impl SourceKind {
            /// Every kind of source.
            pub const ALL: &'static [Self] = &[$(Self::$Source),+];

            /// The word as it stands in the spec.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Source => $word,)+
                }
            }
        }

        /// Where an app comes from. The member named by `kind` is set, and no other.
        #[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
        #[serde(rename_all = "camelCase")]
        #[x_kube($(validation = rules::member($word)),+)]
        pub struct AppSource {
            /// Name of the member that is set.
            #[schemars(description = described_kind())]
            pub kind: SourceKind,
            $(
                #[doc = $what]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $member: Option<$Source>,
            )+
        }
    };
}

each_source!(sources);

impl std::fmt::Display for SourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Description of `kind`, which names them all.
fn described_kind() -> String {
    let words: Vec<&str> = SourceKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let words = match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.concat(),
    };
    format!("{words}. The member of that name is set, and no other.")
}
