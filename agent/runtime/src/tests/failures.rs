//! Starts that fail: one clear error each, and nothing is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::lab::Lab;
use crate::{ContainerSpec, Resources, Runtime};

#[tokio::test]
async fn root_every_failed_start_says_why_and_leaves_nothing() {
    let lab = Lab::new();
    fs::write(lab.path("image/bin/text"), "no program").expect("a file");
    fs::write(lab.path("image/bin/foreign"), [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0]).expect("a file");
    fs::set_permissions(lab.path("image/bin/foreign"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::write(lab.path("image/bin/script"), "#!/no/interpreter\n").expect("a file");
    fs::set_permissions(lab.path("image/bin/script"), fs::Permissions::from_mode(0o755)).expect("a mode");

    let check = async |change: &dyn Fn(&mut ContainerSpec), expect: &str, hint: &str| {
        let mut spec = lab.spec("fails", "echo started");
        change(&mut spec);
        let error = lab.runtime.start(spec).await.expect_err(expect);
        assert!(error.to_string().contains(expect), "{error} ... expected: {expect}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?} ... expected: {hint}", error.hint());
        assert_eq!(lab.leftovers(), Vec::<String>::new(), "{expect}");
    };
    let command = |name: &'static str| move |spec: &mut ContainerSpec| spec.args = vec![name.to_owned()];
    check(&command("nginx"), "command \"nginx\" is not in the image", "PATH").await;
    check(&command("/bin/nginx"), "command \"/bin/nginx\" is not in the image", "PATH").await;
    check(&command("/bin/script"), "command \"/bin/script\" is not in the image", "interpreter").await;
    check(&command("text"), "command \"/bin/text\" cannot be executed: Permission denied", "executable bit").await;
    check(&command("/etc"), "command \"/etc\" cannot be executed", "executable bit").await;
    check(&command("foreign"), "command \"/bin/foreign\" is no program for this machine", "this machine").await;
    check(&|spec| spec.args.clear(), "there is no command", "").await;
    check(&|spec| spec.user = "nobody".to_owned(), "user \"nobody\": there is no user of this name", "numbers").await;
    check(&|spec| spec.user = "app:wheel".to_owned(), "user \"wheel\": there is no group of this name", "numbers").await;
    check(&|spec| spec.cwd = "/etc/passwd".to_owned(), "working directory \"/etc/passwd\"", "working_dir").await;
    check(&|spec| spec.cwd = "relative".to_owned(), "is not an absolute path", "").await;
    check(&|spec| spec.lowers = vec![lab.path("no-layer")], "no-layer", "").await;
    check(&|spec| spec.hostname = "not a name".to_owned(), "host name", "").await;
    check(&|spec| spec.id = "../escape".to_owned(), "its ID is not made of", "").await;
    let many = Resources { pids: Some(u32::MAX), ..Resources::default() };
    check(&|spec| spec.resources = many.clone(), "the host refuses the limit pids = 4294967295", "another value").await;
}

#[tokio::test]
async fn root_an_id_is_used_once() {
    let lab = Lab::new();
    lab.runtime.start(lab.spec("twice", "sleep 1000")).await.expect("a start");
    let error = lab.runtime.start(lab.spec("twice", "sleep 1000")).await.expect_err("the ID is taken");
    assert_eq!(error.to_string(), "container twice exists already");
    // The first one was not harmed.
    lab.runtime.signal("twice", 0).expect("it runs");
    lab.runtime.remove("twice").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
