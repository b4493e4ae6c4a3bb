//! The mailboxes of an account.

use crate::mailbox::MailboxRow;
use crate::{
    Account, Change, ChangeKind, Durability, Error, List, Mailbox, MailboxId, Result, Role, RowKey, Table,
    Totals, Write, value,
};

/// The most mailboxes an account has.
pub(crate) const MAILBOXES: usize = 1_000;
/// The most characters of a name.
const NAME_CHARACTERS: usize = 255;

/// What became of deleting a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxDeleted {
    /// It is gone.
    Done,
    /// There is no such mailbox.
    NotFound,
    /// It has a role and stays.
    HasRole,
    /// Messages are in it.
    NotEmpty,
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::Refused {
            what: "a mailbox's name is text without control characters or space around it",
        });
    }
    if name.chars().count() > NAME_CHARACTERS {
        return Err(Error::Refused { what: "a mailbox's name has at most 255 characters" });
    }
    Ok(())
}

impl Account {
    fn mailbox_key(&self, id: MailboxId) -> RowKey {
        RowKey::new(Table::Mailboxes, *self.id.as_bytes(), *id.as_bytes())
    }

    pub(crate) async fn mailbox_row(&self, id: MailboxId) -> Result<Option<Mailbox>> {
        let key = self.mailbox_key(id);
        let Some(sealed) = self.backend().store.get(std::slice::from_ref(&key)).await?.pop().flatten() else {
            return Ok(None);
        };
        let row: MailboxRow = value::open(&self.keys, &key, &sealed)?;
        Ok(Some(Mailbox { id, name: row.name, role: row.role }))
    }

    /// Whether the mailbox is one that is never deleted.
    pub(crate) fn has_role(&self, id: MailboxId) -> bool {
        Role::ALL.into_iter().any(|role| self.role_mailbox(role) == id)
    }

    /// Whether the account has this mailbox.
    pub async fn has_mailbox(&self, id: MailboxId) -> Result<bool> {
        Ok(self.mailbox_row(id).await?.is_some())
    }

    /// The account's mailboxes: those with a role first, then by name.
    pub async fn all_mailboxes(&self) -> Result<Vec<Mailbox>> {
        let mut mailboxes = Vec::new();
        for (clustering, sealed) in self.instance.account_rows(Table::Mailboxes, self.id).await? {
            let id =
                MailboxId::from_slice(&clustering).ok_or(Error::Damaged { what: Table::Mailboxes.name() })?;
            let row: MailboxRow = value::open(&self.keys, &self.mailbox_key(id), &sealed)?;
            mailboxes.push(Mailbox { id, name: row.name, role: row.role });
        }
        mailboxes
            .sort_by(|a, b| (a.role.is_none(), a.role, &a.name).cmp(&(b.role.is_none(), b.role, &b.name)));
        Ok(mailboxes)
    }

    /// The same with exact totals.
    pub async fn mailboxes(&self) -> Result<Vec<(Mailbox, Totals)>> {
        let mut listed = Vec::new();
        for mailbox in self.all_mailboxes().await? {
            let totals = self.instance.totals(self.id, List::Mailbox(mailbox.id)).await?;
            listed.push((mailbox, totals));
        }
        Ok(listed)
    }

    /// A mailbox with exact totals; `None` if there is none with this id.
    pub async fn mailbox(&self, id: MailboxId) -> Result<Option<(Mailbox, Totals)>> {
        match self.mailbox_row(id).await? {
            Some(mailbox) => Ok(Some((mailbox, self.instance.totals(self.id, List::Mailbox(id)).await?))),
            None => Ok(None),
        }
    }

    /// Creates a mailbox.
    ///
    /// # Errors
    /// [`Error::Refused`] if the name is not one, [`Error::Conflict`] if it is taken (upper and lower case are the
    /// same, and so are the ways to compose a character), [`Error::Limit`] if there are too many.
    pub async fn create_mailbox(&self, name: &str) -> Result<Mailbox> {
        let name = &mail::terms::composed(name);
        check_name(name)?;
        let _turn = self.instance.lock_mailboxes(self.id).await;
        let there = self.all_mailboxes().await?;
        if there.len() >= MAILBOXES {
            return Err(Error::Limit { what: "the number of mailboxes" });
        }
        Self::check_free(&there, name, None)?;
        let mailbox = Mailbox { id: MailboxId::random(), name: name.to_owned(), role: None };
        self.write_mailbox(&mailbox, ChangeKind::MailboxCreated).await?;
        Ok(mailbox)
    }

    fn check_free(there: &[Mailbox], name: &str, except: Option<MailboxId>) -> Result<()> {
        let folded = name.to_lowercase();
        match there.iter().any(|other| Some(other.id) != except && other.name.to_lowercase() == folded) {
            true => Err(Error::Conflict { what: "a mailbox of this name is there already" }),
            false => Ok(()),
        }
    }

    async fn write_mailbox(&self, mailbox: &Mailbox, kind: ChangeKind) -> Result<()> {
        let key = self.mailbox_key(mailbox.id);
        let row = MailboxRow { name: mailbox.name.clone(), role: mailbox.role };
        let writes = vec![
            Write::Put(key.clone(), value::seal(&self.keys, &key, &row)),
            Write::Change(self.id, Change { kind, id: mailbox.id.0 }),
        ];
        self.backend().store.write(writes, Durability::Now).await?;
        self.tell(kind, mailbox.id.0);
        Ok(())
    }

    /// Gives a mailbox another name; `None` if there is none with this id.
    ///
    /// # Errors
    /// As [`Account::create_mailbox`].
    pub async fn rename_mailbox(&self, id: MailboxId, name: &str) -> Result<Option<Mailbox>> {
        let name = &mail::terms::composed(name);
        check_name(name)?;
        let _turn = self.instance.lock_mailboxes(self.id).await;
        let there = self.all_mailboxes().await?;
        let Some(mailbox) = there.iter().find(|mailbox| mailbox.id == id) else { return Ok(None) };
        Self::check_free(&there, name, Some(id))?;
        let mailbox = Mailbox { name: name.to_owned(), ..mailbox.clone() };
        self.write_mailbox(&mailbox, ChangeKind::MailboxUpdated).await?;
        Ok(Some(mailbox))
    }

    /// Deletes a mailbox that has no role and holds no message.
    pub async fn delete_mailbox(&self, id: MailboxId) -> Result<MailboxDeleted> {
        let _turn = self.instance.lock_mailboxes(self.id).await;
        let Some(mailbox) = self.mailbox_row(id).await? else { return Ok(MailboxDeleted::NotFound) };
        if mailbox.role.is_some() {
            return Ok(MailboxDeleted::HasRole);
        }
        if !self.newest(List::Mailbox(id), 1).await?.is_empty() {
            return Ok(MailboxDeleted::NotEmpty);
        }
        let change = Change { kind: ChangeKind::MailboxDestroyed, id: id.0 };
        let writes = vec![Write::Delete(self.mailbox_key(id)), Write::Change(self.id, change)];
        self.backend().store.write(writes, Durability::Now).await?;
        self.instance.forget_totals(self.id, List::Mailbox(id));
        self.tell(ChangeKind::MailboxDestroyed, id.0);
        Ok(MailboxDeleted::Done)
    }
}
