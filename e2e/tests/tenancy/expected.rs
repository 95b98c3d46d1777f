//! Roles as a table of allowed and denied: who asks for what where. What a list does not name has to be denied. No I/O.

use e2e::access::Person;

/// Every request of the table.
pub const ASKED: &str = "
get secrets, list secrets, watch secrets, create secrets, update secrets, patch secrets,
delete secrets, deletecollection secrets, get pods, create pods, delete pods, get pods/log,
get pods/exec, create pods/exec, create pods/attach, create pods/portforward, get pods/proxy,
create pods/proxy, patch pods/ephemeralcontainers, create pods/eviction, get services/proxy,
get deployments.apps, create deployments.apps, patch deployments.apps, delete deployments.apps,
patch deployments.apps/scale, create jobs.batch, create daemonsets.apps, get configmaps,
create configmaps, get services, create services, create persistentvolumeclaims,
create ingresses.networking.k8s.io, create endpoints, create endpointslices.discovery.k8s.io,
get events, create events, get novaapps.kubenova.io, list novaapps.kubenova.io,
create novaapps.kubenova.io, update novaapps.kubenova.io, patch novaapps.kubenova.io,
delete novaapps.kubenova.io, deletecollection novaapps.kubenova.io, patch novaapps.kubenova.io/status,
update novaapps.kubenova.io/finalizers, get novaprojects.kubenova.io, create novaprojects.kubenova.io,
update novaprojects.kubenova.io, delete novaprojects.kubenova.io,
patch novaprojects.kubenova.io/status, get novasandboxes.kubenova.io, create novasandboxes.kubenova.io,
patch novasandboxes.kubenova.io/status, get novatenants.kubenova.io, list novatenants.kubenova.io,
create novatenants.kubenova.io, patch novatenants.kubenova.io, patch novatenants.kubenova.io/status,
get novaplans.kubenova.io, create novaplans.kubenova.io, patch novaplans.kubenova.io,
get novaclusters.kubenova.io, patch novaclusters.kubenova.io,
get rolebindings.rbac.authorization.k8s.io, create rolebindings.rbac.authorization.k8s.io,
patch rolebindings.rbac.authorization.k8s.io, delete rolebindings.rbac.authorization.k8s.io,
create roles.rbac.authorization.k8s.io, create clusterrolebindings.rbac.authorization.k8s.io,
bind clusterroles.rbac.authorization.k8s.io, escalate clusterroles.rbac.authorization.k8s.io,
get resourcequotas, create resourcequotas, patch resourcequotas, delete resourcequotas,
get limitranges, patch limitranges, delete limitranges, get networkpolicies.networking.k8s.io,
create networkpolicies.networking.k8s.io, delete networkpolicies.networking.k8s.io, get namespaces,
list namespaces, create namespaces, patch namespaces, delete namespaces, update namespaces/finalize,
patch namespaces/status, get applications.core.oam.dev, create applications.core.oam.dev,
patch applications.core.oam.dev, delete applications.core.oam.dev,
create componentdefinitions.core.oam.dev, create traitdefinitions.core.oam.dev,
create workflowstepdefinitions.core.oam.dev, get serviceaccounts, create serviceaccounts,
patch serviceaccounts, create serviceaccounts/token, get tenants.capsule.clastix.io,
patch tenants.capsule.clastix.io, delete tenants.capsule.clastix.io,
create tenantresources.capsule.clastix.io, create globaltenantresources.capsule.clastix.io,
impersonate users, impersonate groups, impersonate serviceaccounts, get nodes, get nodes/proxy,
create persistentvolumes, create validatingadmissionpolicies.admissionregistration.k8s.io,
create certificatesigningrequests.certificates.k8s.io";

/// What `kubectl get all` asks for.
pub const GET_ALL: &str = "
list pods, list services, list replicationcontrollers, list deployments.apps, list statefulsets.apps,
list daemonsets.apps, list replicasets.apps, list jobs.batch, list cronjobs.batch,
list horizontalpodautoscalers.autoscaling";

/// The requests of a list.
pub fn requests(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split(',').map(str::trim)
}

/// Everybody who is logged in.
const ANYBODY: &str = "
get novaplans.kubenova.io";
/// Capsule gives this to owners in every namespace of their tenant.
const BASE: &str = "
get resourcequotas, get limitranges, get networkpolicies.networking.k8s.io";
const HOME_READER: &str = "
get novaprojects.kubenova.io, get novasandboxes.kubenova.io, get events,
get pods, get deployments.apps, get services";
const TENANT_OWNER: &str = "
get novaprojects.kubenova.io, create novaprojects.kubenova.io, update novaprojects.kubenova.io,
delete novaprojects.kubenova.io, get novasandboxes.kubenova.io, create novasandboxes.kubenova.io,
get events, get pods, get deployments.apps, get services";
const APP_READER: &str = "
get pods, get pods/log, get deployments.apps, get configmaps, get services, get events,
get novaapps.kubenova.io, list novaapps.kubenova.io, get resourcequotas, get limitranges,
get networkpolicies.networking.k8s.io, get applications.core.oam.dev";
const PROJECT_DEV: &str = "
get novaapps.kubenova.io, list novaapps.kubenova.io, create novaapps.kubenova.io,
update novaapps.kubenova.io, patch novaapps.kubenova.io, delete novaapps.kubenova.io";
const PROJECT_OWNER: &str = "
create secrets, delete secrets";
const SANDBOX_EDITOR: &str = "
get secrets, list secrets, watch secrets, create secrets, update secrets, patch secrets,
delete secrets, deletecollection secrets, get pods, create pods, delete pods, get pods/log,
get pods/exec, create pods/exec, create pods/attach, create pods/portforward, get deployments.apps,
create deployments.apps, patch deployments.apps, delete deployments.apps, patch deployments.apps/scale,
create jobs.batch, create daemonsets.apps, get configmaps, create configmaps, get services,
create services, create persistentvolumeclaims, create ingresses.networking.k8s.io, get events,
get resourcequotas, get limitranges, get networkpolicies.networking.k8s.io, get serviceaccounts";
const DEPLOYER: &str = "
get pods, get deployments.apps, create deployments.apps, patch deployments.apps,
delete deployments.apps, create jobs.batch, create daemonsets.apps, get configmaps, create configmaps,
get services, create services, create persistentvolumeclaims, create ingresses.networking.k8s.io,
list pods, list services, list deployments.apps, list statefulsets.apps, list daemonsets.apps,
list replicasets.apps, list jobs.batch, list cronjobs.batch, list horizontalpodautoscalers.autoscaling";

/// Titles of people, in the order of the table's columns.
pub fn people() -> Vec<Person> {
    let user = |title, name: &str, groups: &[&str]| Person::user(title, name, groups);
    vec![
        user("red dev", "dave@red.example", &["red-devs"]),
        user("red owner", "alice@red.example", &[]),
        Person::service_account("red gitops", "tn-red", "kubenova-gitops"),
        user("projectDev", "pat@red.example", &[]),
        user("readOnly", "ron@red.example", &[]),
        user("tenantOwner", "olga@red.example", &[]),
        Person::service_account("app default SA", "tn-red-app-shop", "default"),
        Person::service_account("deployer SA", "tn-red-app-shop", "kubenova-deployer"),
        Person::service_account("sandbox default SA", "tn-red-sandbox-dev", "default"),
        user("blue dev", "dora@blue.example", &["blue-devs"]),
        user("blue owner", "alice@blue.example", &[]),
        user("stranger", "sam@nowhere.example", &["red", "devs", "red-dev"]),
    ]
}

/// Everything that somebody may do somewhere; what is not in it is denied.
#[allow(clippy::match_same_arms, reason = "it reads by person, like the table of roles")]
pub fn expected(person: &str, namespace: &str) -> Vec<&'static str> {
    let mut lists = vec![ANYBODY];
    let writers = [PROJECT_DEV, APP_READER, GET_ALL];
    lists.extend(match (person, namespace) {
        ("red dev", "tn-red") => vec![HOME_READER, BASE, GET_ALL],
        ("red dev" | "projectDev", "tn-red-app-shop") => writers.to_vec(),
        ("red dev", "tn-red-app-books") | ("readOnly", "tn-red-app-shop") => vec![APP_READER, GET_ALL],
        ("red dev" | "red gitops", "tn-red-sandbox-dev") => vec![SANDBOX_EDITOR, GET_ALL],
        ("red owner" | "red gitops", "tn-red") => vec![TENANT_OWNER, BASE, GET_ALL],
        ("red owner" | "red gitops", "tn-red-app-shop" | "tn-red-app-books" | "tn-red-app-vault")
        | ("tenantOwner", "tn-red-app-shop") => vec![PROJECT_DEV, APP_READER, PROJECT_OWNER, GET_ALL],
        ("red owner", "tn-red-sandbox-dev") => vec![SANDBOX_EDITOR, BASE, GET_ALL],
        ("deployer SA", "tn-red-app-shop") => vec![DEPLOYER],
        ("blue dev", "tn-blue") => vec![HOME_READER, BASE, GET_ALL],
        ("blue dev", "tn-blue-app-shop") => writers.to_vec(),
        ("blue dev", "tn-blue-sandbox-dev") => vec![SANDBOX_EDITOR, GET_ALL],
        ("blue owner", "tn-blue") => vec![TENANT_OWNER, BASE, GET_ALL],
        ("blue owner", "tn-blue-app-shop") => vec![PROJECT_DEV, APP_READER, PROJECT_OWNER, GET_ALL],
        ("blue owner", "tn-blue-sandbox-dev") => vec![SANDBOX_EDITOR, BASE, GET_ALL],
        _ => Vec::new(),
    });
    lists.into_iter().flat_map(requests).collect()
}

/// Namespaces of the table; the last is the whole cluster.
pub const PLACES: [&str; 12] = [
    "tn-red",
    "tn-red-app-shop",
    "tn-red-app-books",
    "tn-red-app-vault",
    "tn-red-sandbox-dev",
    "tn-blue",
    "tn-blue-app-shop",
    "tn-blue-sandbox-dev",
    "kube-system",
    "vela-system",
    "kubenova-system",
    "",
];
