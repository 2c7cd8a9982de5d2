//! Who runs the command: names and numbers looked up in the container's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of container engines: no user is root; a number needs no entry; a group that is given replaces the
//! user's own groups. [`lookup`] is pure; reading the two files safely is the caller's part (`root`).

use crate::request::{Failure, FailureKind};

/// The result of a [`lookup`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks up `user` (`""`, `"app"`, `"1000"`, `"app:staff"`, `"1000:1000"`) and the groups `beside` its own in the text of the
/// two files.
pub(crate) fn lookup(user: &str, beside: &[String], passwd: &str, group: &str) -> Result<User, Failure> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name).filter(|name| !name.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd.lines().filter_map(Account::parse).find(|account| account.is(name));
    let mut found = match (&entry, name.parse()) {
        (Some(account), _) => User { uid: account.uid, gid: account.gid, groups: Vec::new(), home: account.home.to_owned() },
        (None, Ok(uid)) => User { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() },
        (None, Err(_)) => return Err(unknown("user", name, "/etc/passwd")),
    };
    match group_name {
        Some(group_name) => found.gid = group_number(group_name, group)?,
        None => {
            if let Some(account) = entry {
                let groups = group.lines().filter_map(Group::parse);
                found.groups = groups.filter(|group| group.has(account.name)).map(|group| group.gid).collect();
            }
        }
    }
    for name in beside {
        let number = group_number(name, group)?;
        if !found.groups.contains(&number) {
            found.groups.push(number);
        }
    }
    Ok(found)
}

fn group_number(name: &str, group: &str) -> Result<u32, Failure> {
    let entry = group.lines().filter_map(Group::parse).find(|group| group.is(name));
    match (entry, name.parse()) {
        (_, Ok(gid)) => Ok(gid),
        (Some(group), Err(_)) => Ok(group.gid),
        (None, Err(_)) => Err(unknown("group", name, "/etc/group")),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    Failure {
        kind: FailureKind::User,
        object: name.to_owned(),
        detail: format!("there is no {what} of this name in the image's {file}"),
    }
}

/// A line of `/etc/passwd`; lines that are not well-formed are passed over, as the C library does.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Account<'a>> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(Account { name, uid, gid, home })
    }

    fn is(&self, name_or_number: &str) -> bool {
        self.name == name_or_number || name_or_number.parse() == Ok(self.uid)
    }
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Group<'a>> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn is(&self, name_or_number: &str) -> bool {
        self.name == name_or_number || name_or_number.parse() == Ok(self.gid)
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

#[cfg(test)]
mod tests {
    use super::{User, lookup};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# not a line\napp:x:1000:1001::/srv/app:\nbroken:x:y\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:root,app\nvideo:x:44:app\n";

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let check = |user: &str, uid: u32, gid: u32, groups: &[u32], home: &str| {
            let expect = User { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
            assert_eq!(lookup(user, &[], PASSWD, GROUP), Ok(expect), "{user:?}");
        };
        check("", 0, 0, &[50], "/root");
        check("app", 1000, 1001, &[50, 44], "/srv/app");
        check("1000", 1000, 1001, &[50, 44], "/srv/app");
        check("app:", 1000, 1001, &[50, 44], "/srv/app");
        check("app:staff", 1000, 50, &[], "/srv/app");
        check("app:99", 1000, 99, &[], "/srv/app");
        check(":staff", 0, 50, &[], "/root");
        check("4711", 4711, 0, &[], "/");
        check("4711:4712", 4711, 4712, &[], "/");
    }

    #[test]
    fn groups_are_added_once() {
        let beside = ["video", "4711", "50"].map(str::to_owned);
        let groups = |user| lookup(user, &beside, PASSWD, GROUP).map(|user| user.groups);
        assert_eq!(groups("app"), Ok(vec![50, 44, 4711]));
        assert_eq!(groups("app:staff"), Ok(vec![44, 4711, 50]));
        assert!(lookup("app", &["wheel".to_owned()], PASSWD, GROUP).is_err());
    }

    #[test]
    fn unknown_names_are_named() {
        let check = |user: &str, object: &str, file: &str| {
            let failure = lookup(user, &[], PASSWD, GROUP).expect_err("must not be found");
            assert_eq!(failure.object, object);
            assert!(failure.detail.contains(file), "{}", failure.detail);
        };
        check("nobody", "nobody", "/etc/passwd");
        check("broken", "broken", "/etc/passwd");
        check("app:wheel", "wheel", "/etc/group");
        check("-1", "-1", "/etc/passwd");
        check("4294967296", "4294967296", "/etc/passwd");
    }
}
