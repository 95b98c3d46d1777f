//! One pass over an object, as its controller makes it: look, check, build; and what goes on around it meanwhile.

use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant, Quotas};
use nova_plan::adapters::vela;
use nova_plan::child::{Child, NAMESPACE};
use nova_plan::division::{Member, divide};
use nova_plan::names::{annotation, app_namespace_of, home_of, role};
use nova_plan::namespace::{NamespaceBuilder, amounts_at, hard};
use nova_plan::step::{Children, Step};
use nova_plan::{Lookup, Problem, app, project, sandbox, tenancy, tenant};

use crate::cluster::Cluster;

/// A tenant with one object of each kind in it.
#[derive(Debug, Clone)]
pub struct World {
    pub cluster: NovaCluster,
    pub plan: NovaPlan,
    pub tenant: NovaTenant,
    pub project: NovaProject,
    pub sandbox: NovaSandbox,
    pub app: NovaApp,
}

/// The object that a pass is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Tenant,
    Project,
    Sandbox,
    App,
}

impl Subject {
    /// Each, in the order in which they can be made.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Project, Self::Sandbox, Self::App];
}

fn name(meta: &kube::core::ObjectMeta) -> &str {
    meta.name.as_deref().unwrap()
}

impl World {
    /// Its objects, and nothing made of them yet.
    pub fn unmade(&self) -> Cluster {
        let mut cluster = Cluster::default();
        self.put_into(&mut cluster);
        cluster
    }

    /// Its objects, in place of those of another world of the same names.
    pub fn put_into(&self, cluster: &mut Cluster) {
        cluster.put(&self.cluster);
        cluster.put(&self.plan);
        cluster.put(&self.tenant);
        cluster.put(&self.project);
        cluster.put(&self.sandbox);
        cluster.put(&self.app);
    }

    /// Name of the tenant.
    pub fn name(&self) -> &str {
        name(&self.tenant.metadata)
    }

    /// Home namespace, and those of project and sandbox.
    pub fn namespaces(&self) -> [String; 3] {
        let home = home_of(self.name());
        let sandbox = format!("{home}-sandbox-{}", name(&self.sandbox.metadata));
        [home, app_namespace_of(self.name(), name(&self.project.metadata)), sandbox]
    }

    /// The steps that a pass over an object would take.
    pub fn steps(&self, subject: Subject, see: &Cluster) -> Result<Vec<Step>, Problem> {
        Ok(match subject {
            Subject::Tenant => tenant::build(&tenancy::valid(&self.tenant, see)?).steps(),
            Subject::Project => {
                let tenant = tenancy::surroundings(&self.project, see)?;
                let refs = project::References { tenant: &tenant, older: 0 };
                project::build(&project::validate(&self.project, refs)?).steps()
            }
            Subject::Sandbox => {
                let tenant = tenancy::surroundings(&self.sandbox, see)?;
                let refs = sandbox::References { tenant: &tenant, older: 0 };
                sandbox::build(&sandbox::validate(&self.sandbox, refs)?).steps()
            }
            Subject::App => self.app_steps(see)?,
        })
    }

    fn app_steps(&self, see: &Cluster) -> Result<Vec<Step>, Problem> {
        let project = tenancy::project_of(&self.app, see)?;
        let refs = app::References {
            project: &project.owner,
            max_apps: project.max_apps,
            older: 0,
            component_holder: None,
            definition_exists: see.installed(vela::CRD),
        };
        let valid = app::validate(&self.app, &refs)?;
        let live = see.children.get(&app::application_ref(&valid.namespace, valid.name.as_str()));
        let version = live.map(|l| &l.body["metadata"]["annotations"][annotation::VELA_PUBLISH_VERSION]);
        let published = app::Published { live: version.and_then(|v| v.as_str()), ..Default::default() };
        Ok(app::build(&valid, published).steps())
    }

    /// Everybody else has a turn: the tenant divides its plan, the quota controller counts.
    pub fn settle(&self, cluster: &mut Cluster) {
        // A share shrinks first and another grows after it was seen to have shrunk.
        for _ in 0..20 {
            let before = cluster.writes.len();
            for quota in self.shares(cluster) {
                cluster.apply(&quota).unwrap();
            }
            cluster.run_quota_controller();
            if cluster.writes.len() == before {
                return;
            }
        }
        panic!("the shares of the plan do not settle");
    }

    /// The quotas of project and sandbox, as the pass over the tenant writes them.
    pub fn shares(&self, see: &Cluster) -> Vec<Child> {
        let Ok(tenant) = tenancy::valid(&self.tenant, see) else { return Vec::new() };
        let [_, of_project, of_sandbox] = self.namespaces();
        let own = [
            (of_project, self.project.spec.quotas.as_ref()),
            (of_sandbox, self.sandbox.spec.quotas.as_ref()),
        ];
        let member = |(namespace, own): (String, Option<&Quotas>)| {
            let place = NamespaceBuilder { namespace: &namespace, owner: &tenant.owner };
            let quota = see.children.get(&place.quota_ref());
            let amounts = |at| quota.map(|live| amounts_at(&live.body, at)).unwrap_or_default();
            let (asked, enforced) = (amounts("/spec/hard"), amounts("/status/hard"));
            let writable = see.children.contains_key(&place.binding_ref(role::NAMESPACE_MANAGER));
            Member { own: hard(own).unwrap(), asked, enforced, writable, namespace, ..Member::default() }
        };
        let there =
            |namespace: &str| see.children.keys().any(|at| at.kind == &NAMESPACE && at.name == namespace);
        let members: Vec<Member> = own.into_iter().filter(|(at, _)| there(at)).map(member).collect();
        let division = divide(&tenant.quota, &members);
        let writable = members.iter().filter(|member| member.writable);
        writable
            .map(|member| {
                let place = NamespaceBuilder { namespace: &member.namespace, owner: &tenant.owner };
                place.quota(&division.next[&member.namespace])
            })
            .collect()
    }

    /// Passes over an object until one comes to its end.
    pub fn converge(&self, subject: Subject, cluster: &mut Cluster) {
        let mut why = String::new();
        for _ in 0..20 {
            let steps = self.steps(subject, cluster).unwrap_or_else(|problem| panic!("{problem:?}"));
            match steps.iter().try_for_each(|step| cluster.take(step)) {
                Ok(()) => return,
                Err(message) => why = message,
            }
            self.settle(cluster);
        }
        panic!("{subject:?} does not come to its end: {why}");
    }

    /// All that is made before a pass over an object can do anything.
    pub fn made_before(&self, subject: Subject, mut cluster: Cluster) -> Cluster {
        for earlier in Subject::ALL.into_iter().take_while(|earlier| *earlier != subject) {
            self.converge(earlier, &mut cluster);
        }
        self.settle(&mut cluster);
        cluster
    }

    /// Everything made.
    pub fn made(&self, mut cluster: Cluster) -> Cluster {
        for subject in Subject::ALL {
            self.converge(subject, &mut cluster);
        }
        self.settle(&mut cluster);
        cluster
    }
}
