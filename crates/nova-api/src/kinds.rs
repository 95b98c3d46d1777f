//! The list of Nova kinds. Whatever enumerates kinds expands it: keys, stores, watches, readiness, dispatch, metrics,
//! definitions, the check of the chart's rules, tables of tests and docs. No I/O.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::kind::{NovaKind, Place};
use crate::v1alpha1;

/// Calls the macro `$with` with the name of each Nova kind, from the cluster down to the app, after the tokens given.
#[macro_export]
macro_rules! for_each_kind {
    ($with:ident $($before:tt)*) => {
        $with! {
            $($before)*
            NovaCluster
            NovaPlan
            NovaTenant
            NovaProject
            NovaSandbox
            NovaApp
        }
    };
}

macro_rules! kinds {
    ($($kind:ident)+) => {
        /// A Nova kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(
                #[doc = concat!("`", stringify!($kind), "`.")]
                $kind,
            )+
        }

        impl Kind {
            /// Every kind, from the cluster down to the app.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The kind as it stands in a manifest.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => <v1alpha1::$kind as NovaKind>::KIND,)+
                }
            }

            /// Name of its controller, in logs and metrics.
            #[must_use]
            pub const fn controller(self) -> &'static str {
                match self {
                    $(Self::$kind => <v1alpha1::$kind as NovaKind>::CONTROLLER,)+
                }
            }

            /// Field manager of its controller.
            #[must_use]
            pub const fn manager(self) -> &'static str {
                match self {
                    $(Self::$kind => <v1alpha1::$kind as NovaKind>::MANAGER,)+
                }
            }

            /// Where its objects live.
            #[must_use]
            pub const fn place(self) -> Place {
                match self {
                    $(Self::$kind => <v1alpha1::$kind as NovaKind>::PLACE,)+
                }
            }

            /// Its definition as derived from its type.
            pub(crate) fn definition(self) -> CustomResourceDefinition {
                match self {
                    $(Self::$kind => v1alpha1::$kind::crd(),)+
                }
            }

            /// Name of its definition, such as `novatenants.kubenova.io`.
            #[must_use]
            pub fn crd_name(self) -> &'static str {
                match self {
                    $(Self::$kind => <v1alpha1::$kind as CustomResourceExt>::crd_name(),)+
                }
            }

            /// Plural of the kind, such as `novatenants`.
            #[must_use]
            pub fn plural(self) -> &'static str {
                let name = self.crd_name();
                name.split_once('.').map_or(name, |(plural, _)| plural)
            }
        }
    };
}

for_each_kind!(kinds);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_the_same_name_everywhere() {
        for kind in Kind::ALL {
            let definition = kind.definition();
            assert_eq!(definition.spec.names.kind, kind.as_str());
            assert_eq!(definition.spec.names.plural, kind.plural());
            assert_eq!(kind.manager(), format!("kubenova/{}", kind.controller()));
            let namespaced = definition.spec.scope == "Namespaced";
            assert_eq!(namespaced, matches!(kind.place(), Place::Home | Place::Project), "{kind}");
        }
    }
}
