//! Domains that we host.

use serde::{Deserialize, Serialize};

use crate::address::parse_domain;
use crate::{Durability, Error, Instance, Millis, Result, RowKey, Table, Write, value};

/// A domain that we host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name, lower-cased and in ASCII (`xn--…` for a label outside it).
    pub name: String,
    /// When it was added.
    pub created_at: Millis,
}

impl Instance {
    pub(crate) fn domain_row(&self, name: &str) -> RowKey {
        RowKey::new(Table::Domains, [], self.keyring.instance().hash("domain", name.as_bytes()))
    }

    /// Hosts a domain. Returns its name as it is stored.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is not a domain name, [`Error::Conflict`] if it is there already.
    pub async fn add_domain(&self, name: &str) -> Result<String> {
        let name = parse_domain(name)?;
        let key = self.domain_row(&name);
        let domain = Domain { name: name.clone(), created_at: self.now() };
        let sealed = value::seal_instance(self.keyring.instance(), &key, &domain);
        match self.backend.store.replace(key, None, Some(sealed), vec![]).await? {
            true => Ok(name),
            false => Err(Error::Conflict { what: "the domain is there already" }),
        }
    }

    /// The domains that we host, by name.
    pub async fn domains(&self) -> Result<Vec<Domain>> {
        let mut domains = Vec::new();
        for (clustering, sealed) in self.all_rows(Table::Domains).await? {
            let key = RowKey::new(Table::Domains, [], clustering);
            domains.push(value::open_instance::<Domain>(self.keyring.instance(), &key, &sealed)?);
        }
        domains.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(domains)
    }

    /// Hosts a domain no more. False if it was not there.
    ///
    /// # Errors
    /// [`Error::Conflict`] while an account has an address on it.
    pub async fn remove_domain(&self, name: &str) -> Result<bool> {
        let name = parse_domain(name)?;
        let key = self.domain_row(&name);
        if self.row(&key).await?.is_none() {
            return Ok(false);
        }
        let suffix = format!("@{name}");
        for id in self.accounts().await? {
            if self.addresses(id).await?.iter().any(|address| address.ends_with(&suffix)) {
                return Err(Error::Conflict { what: "an account has an address on the domain" });
            }
        }
        self.backend.store.write(vec![Write::Delete(key)], Durability::Now).await?;
        Ok(true)
    }
}
