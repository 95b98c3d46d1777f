//! Keys and certificates of one control plane, made on the spot. Does I/O: writes them into its folder.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use crate::der;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key, PEM.
pub struct Pair {
    /// Certificate.
    pub cert: String,
    /// Private key.
    pub key: String,
}

/// The two authorities of a control plane and what they signed for its servers.
pub struct Pki {
    dir: PathBuf,
    ca: Ca,
}

impl Pki {
    /// Makes everything the servers need in `dir`: `ca.crt`, `ca.key`, `apiserver.*`, `webhook/tls.*`, `sa.*`,
    /// `front-proxy-ca.crt` and `front-proxy.*`.
    pub fn create(dir: &Path) -> Result<Self> {
        let webhook = dir.join("webhook");
        fs::create_dir_all(&webhook).with_context(|| format!("create {webhook:?}"))?;
        let ca = authority("kubenova-testkit")?;
        write(dir, "ca.crt", &ca.pem())?;
        write(dir, "ca.key", &ca.key().serialize_pem())?;

        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let api = server(&ca, "kube-apiserver", &names)?;
        write_pair(dir, "apiserver", &api)?;
        let hook = server(&ca, "webhook", &["localhost"])?;
        write(&webhook, "tls.crt", &hook.cert)?;
        write(&webhook, "tls.key", &hook.key)?;

        // The aggregation layer refuses to share an authority with ordinary client certificates.
        let front = authority("kubenova-testkit-front-proxy")?;
        write(dir, "front-proxy-ca.crt", &front.pem())?;
        write_pair(dir, "front-proxy", &client(&front, "front-proxy-client", &[])?)?;

        let accounts = KeyPair::generate().context("make the service accounts' key")?;
        write(dir, "sa.key", &accounts.serialize_pem())?;
        write(dir, "sa.pub", &accounts.public_key_pem())?;
        Ok(Self { dir: dir.to_path_buf(), ca })
    }

    /// A file of this folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The authority's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// A certificate for a user with groups.
    pub fn user(&self, name: &str, groups: &[String]) -> Result<Pair> {
        client(&self.ca, name, groups)
    }
}

fn authority(name: &str) -> Result<Ca> {
    let mut params = CertificateParams::new(Vec::new()).context("certificate authority")?;
    params.distinguished_name = distinguished(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("certificate authority")?;
    CertifiedIssuer::self_signed(params, key).context("certificate authority")
}

fn server(ca: &Ca, name: &str, hosts: &[&str]) -> Result<Pair> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).context("server certificate")?;
    params.distinguished_name = distinguished(name);
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("make a key")?;
    let cert = params.signed_by(&key, ca).context("sign a certificate")?;
    Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
}

fn client(ca: &Ca, name: &str, groups: &[String]) -> Result<Pair> {
    let mut params = CertificateParams::new(Vec::new()).context("client certificate")?;
    params.distinguished_name = distinguished(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("make a key")?;
    let cert = params.signed_by(&key, ca).context("sign a certificate")?;
    let cert = der::with_subject(cert.der(), name, groups, ca.key())?;
    Ok(Pair { cert: pem::encode(&pem::Pem::new("CERTIFICATE", cert)), key: key.serialize_pem() })
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write_pair(dir: &Path, name: &str, pair: &Pair) -> Result<()> {
    write(dir, &format!("{name}.crt"), &pair.cert)?;
    write(dir, &format!("{name}.key"), &pair.key)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("write {path:?}"))
}
