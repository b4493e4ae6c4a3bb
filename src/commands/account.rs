//! `signet account create|list|show|lock|unlock|quota|purge|password`

use std::io::{BufRead as _, IsTerminal as _};

use http::Method;
use seal::Secret;
use serde_json::{Value, json};

use super::{items, print, text};
use crate::arguments::AccountCommand;
use crate::client::{Client, escape};
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, command: &AccountCommand, json: bool) -> Result<(), Failure> {
    match command {
        AccountCommand::Create { address, password_stdin, quota } => {
            let password = Password::take(*password_stdin)?;
            let mut body = json!({ "address": address, "password": password.text.expose() });
            if let Some(quota) = quota {
                body["quota"] = json!(quota);
            }
            let made = client.json(Method::POST, "/accounts", Some(body)).await?;
            let mut shown = json!({ "accountId": made["accountId"], "addresses": made["addresses"] });
            password.add_to(&mut shown);
            let line = format!("created {address}, account {}{}", text(&made, "accountId"), password.line());
            print(json, &shown, &line);
        }
        AccountCommand::List => {
            let listed = client.json(Method::GET, "/accounts", None).await?;
            let lines: Vec<String> = items(&listed).iter().map(line).collect();
            print(json, &listed, &lines.join("\n"));
        }
        AccountCommand::Show { account } => {
            let shown = client.json(Method::GET, &path(account), None).await?;
            let text = format!(
                "account   {}\naddresses {}\nlocked    {}\nused      {} octets\nquota     {}\ncreated   {}",
                text(&shown, "accountId"),
                addresses(&shown),
                if shown["locked"] == true { "yes" } else { "no" },
                shown["used"],
                quota_of(&shown),
                text(&shown, "createdAt"),
            );
            print(json, &shown, &text);
        }
        AccountCommand::Lock { account } => set_locked(client, account, true, json).await?,
        AccountCommand::Unlock { account } => set_locked(client, account, false, json).await?,
        AccountCommand::Quota { account, quota } => {
            let body = json!({ "quota": quota.0 });
            let changed = client.json(Method::PATCH, &path(account), Some(body)).await?;
            let text = format!("quota {}, used {} octets", quota_of(&changed), changed["used"]);
            print(json, &changed, &text);
        }
        AccountCommand::Purge { account, yes } => {
            if !yes && std::io::stdin().is_terminal() {
                confirm_purge(account)?;
            }
            let done = client.json(Method::DELETE, &path(account), None).await?;
            let text = format!(
                "purged {}: its key, and every key epoch before {}, is destroyed; what remains of it is noise and is being removed.\n\
                 Make a new key backup now, and let those from before expire: they still open it.",
                text(&done, "accountId"),
                done["epoch"],
            );
            print(json, &done, &text);
        }
        AccountCommand::Password { account, password_stdin } => {
            let password = Password::take(*password_stdin)?;
            let body = json!({ "password": password.text.expose() });
            let changed = client.json(Method::PATCH, &path(account), Some(body)).await?;
            let mut shown = json!({ "accountId": changed["accountId"], "addresses": changed["addresses"] });
            password.add_to(&mut shown);
            print(json, &shown, &format!("the password is set, all sessions have ended{}", password.line()));
        }
    }
    Ok(())
}

fn path(account: &str) -> String {
    format!("/accounts/{}", escape(account))
}

fn addresses(account: &Value) -> String {
    let addresses = account["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    addresses.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn quota_of(account: &Value) -> String {
    account["quota"].as_u64().map_or("no limit".to_owned(), |quota| format!("{quota} octets"))
}

fn line(account: &Value) -> String {
    let locked = if account["locked"] == true { "  locked" } else { "" };
    format!("{}  {}{locked}", text(account, "accountId"), addresses(account))
}

async fn set_locked(client: &mut Client, account: &str, locked: bool, json: bool) -> Result<(), Failure> {
    let changed = client.json(Method::PATCH, &path(account), Some(json!({ "locked": locked }))).await?;
    print(json, &changed, if locked { "locked: nobody signs in, mail is kept" } else { "unlocked" });
    Ok(())
}

/// Asks on the terminal whether an account is to be lost.
fn confirm_purge(account: &str) -> Result<(), Failure> {
    eprint!(
        "Purge {account}? Its key is destroyed: its mail, mailboxes and addresses are lost for good, in every backup of \
         the data too. Type yes to go on: "
    );
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::other("nothing was purged")) }
}

/// A password that was given, or a random one to be shown once.
struct Password {
    text: Secret<String>,
    is_random: bool,
}

impl Password {
    fn take(from_stdin: bool) -> Result<Self, Failure> {
        if !from_stdin {
            return Ok(Self { text: seal::random_password(), is_random: true });
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            eprint!("Password (shown as it is typed): ");
        }
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        if line.is_empty() {
            return Err(Failure::other("standard input gives no password"));
        }
        Ok(Self { text: Secret::new(line), is_random: false })
    }

    fn line(&self) -> String {
        if self.is_random {
            format!("\npassword {}   (shown this once)", self.text.expose())
        } else {
            String::new()
        }
    }

    fn add_to(&self, shown: &mut Value) {
        if self.is_random {
            shown["password"] = json!(self.text.expose());
        }
    }
}
