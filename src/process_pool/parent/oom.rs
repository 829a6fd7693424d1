//! Evidence that the system has killed processes because memory ran out: its counts of such kills.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The counts of the whole system.
const OF_SYSTEM: &str = "/proc/vmstat";

/// How often the system had killed a process because memory ran out, by the count that tells most of one process.
#[derive(Debug)]
pub(super) struct OomKills {
    file: PathBuf,
    count: u64,
}

impl OomKills {
    /// Reads the count in which a kill of this process will be: that of its cgroup, or else that of the system.
    pub(super) fn before(pid: u32) -> Option<Self> {
        let cgroups = read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mounts = read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::of(&cgroups, &mounts)
    }

    /// Reads the best count that there is for a process in these cgroups: see [`files`].
    fn of(cgroups: &str, mounts: &str) -> Option<Self> {
        let files = files(cgroups, mounts).into_iter().chain([OF_SYSTEM.into()]);
        files.into_iter().find_map(|file| Some(Self { count: read(&file)?, file }))
    }

    /// Returns whether the system has killed a process since. What is counted with the process may be others.
    pub(super) fn have_risen(&self) -> bool {
        read(&self.file).is_some_and(|count| count > self.count)
    }
}

fn read(file: &Path) -> Option<u64> {
    count(&read_to_string(file).ok()?)
}

/// Returns the kills in the lines of such a file. `None` if it does not count them.
fn count(text: &str) -> Option<u64> {
    let value =
        |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok());
    Some(value("oom_kill")?.saturating_add(value("oom_group_kill").unwrap_or(0)))
}

/// Returns the files that may have the count of a process's cgroup, the best one first, from the texts of
/// `/proc/<pid>/cgroup` and `/proc/self/mountinfo`.
fn files(cgroups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        // The number of the hierarchy, its controllers, the path in it.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|controller| controller == "memory") {
            continue;
        }
        for mount in mounts.lines().filter_map(Mount::parse) {
            let is_it = if is_unified { mount.kind == "cgroup2" } else { mount.kind == "cgroup" && mount.has_memory };
            let Some(folder) = mount.folder(path).filter(|_| is_it) else { continue };
            if is_unified {
                // The memory of a group without a count of its own counts for the one above.
                let within = folder.ancestors().take_while(|folder| folder.starts_with(mount.point));
                files.extend(within.map(|folder| folder.join("memory.events")));
            } else {
                files.push(folder.join("memory.oom_control"));
            }
        }
    }
    files
}

/// A line of `mountinfo`.
struct Mount<'t> {
    /// What is mounted: a folder of the file system.
    root: &'t Path,
    /// Where.
    point: &'t Path,
    /// The kind of the file system.
    kind: &'t str,
    has_memory: bool,
}

impl<'t> Mount<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut system = system.split(' ');
        let kind = system.next()?;
        let has_memory = system.nth(1)?.split(',').any(|option| option == "memory");
        Some(Self { root: mount.next()?.as_ref(), point: mount.next()?.as_ref(), kind, has_memory })
    }

    /// Returns where the cgroup of this path is.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        Some(self.point.join(Path::new(path).strip_prefix(self.root).ok()?))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 /docker/a1 /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn texts(cgroups: &str) -> Vec<String> {
        files(cgroups, MOUNTS).into_iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn kills_of_one_process_and_of_groups_are_counted_and_nothing_else() {
        for (text, expected) in [
            ("low 0\nhigh 7\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n", Some(2)),
            ("oom_kill 2\noom_group_kill 1\n", Some(3)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", Some(5)),
            ("pgfault 1\noom_kill 4\nnuma_hit 9\n", Some(4)),
            ("oom_kill_disable 0\nunder_oom 1\n", None),
            ("oom_kill many\n", None),
            ("", None),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    #[test]
    fn the_count_of_a_cgroup_is_where_its_hierarchy_is_mounted() {
        let v2 = ["/sys/fs/cgroup/unified/app/one", "/sys/fs/cgroup/unified/app", "/sys/fs/cgroup/unified"];
        assert_eq!(texts("0::/app/one\n"), v2.map(|folder| format!("{folder}/memory.events")));
        let v1 = "/sys/fs/cgroup/memory/b:2/memory.oom_control";
        assert_eq!(texts("4:cpu:/docker/a1\n3:hugetlb,memory:/docker/a1/b:2\n"), [v1]);
        // Outside of what is mounted, of another namespace, or not told.
        for cgroups in ["3:memory:/docker/other\n", "3:memory:/\n", "2:cpu:/\n", "nonsense\n", ""] {
            assert_eq!(texts(cgroups), [""; 0], "{cgroups}");
        }
    }

    #[test]
    fn only_kills_since_then_count() {
        let folder = std::env::temp_dir().join(format!("bowline-oom-{}", std::process::id()));
        std::fs::write(&folder, "oom_kill 7\n").expect("a file");
        let since = |count| OomKills { file: folder.clone(), count };
        assert_eq!([6, 7, 8].map(|count| since(count).have_risen()), [true, false, false]);
        std::fs::remove_file(&folder).expect("the file");
        assert!(!since(6).have_risen(), "what is gone tells nothing");
    }

    #[test]
    fn in_version_2_the_count_is_that_of_the_nearest_group_that_has_one() {
        let root = std::env::temp_dir().join(format!("bowline-cgroup-{}", std::process::id()));
        let events = |group: &str| root.join(group).join("memory.events");
        let write = |group: &str, text: &str| {
            std::fs::create_dir_all(root.join(group)).expect("a folder");
            std::fs::write(events(group), text).expect("a file");
        };
        let counts = |kills: u32| format!("low 0\nhigh 0\nmax 3\noom 1\noom_kill {kills}\noom_group_kill 0\n");
        write("app", &counts(4));
        write("app/one", &counts(1));
        // A group without the controller for memory has no file; the kernel of the last one counts no kills.
        std::fs::create_dir_all(root.join("app/two/inner")).expect("folders");
        write("app/three", "low 0\nhigh 0\nmax 3\noom 1\n");
        let mounts = format!("41 31 0:38 / {} rw,relatime shared:9 - cgroup2 cgroup2 rw\n", root.display());
        for (group, nearest, count) in
            [("app/one", "app/one", 1), ("app", "app", 4), ("app/two/inner", "app", 4), ("app/three", "app", 4)]
        {
            let kills = OomKills::of(&format!("0::/{group}\n"), &mounts).expect("a count");
            assert_eq!((&kills.file, kills.count), (&events(nearest), count), "of {group}");
            assert!(!kills.have_risen());
            write(nearest, &counts(count as u32 + 1));
            assert!(kills.have_risen(), "of {group}");
            write(nearest, &counts(count as u32));
        }
        // The group is removed with the process, and a kill in another one tells nothing.
        let kills = OomKills::of("0::/app/one\n", &mounts).expect("a count");
        write("app", &counts(5));
        std::fs::remove_dir_all(root.join("app/one")).expect("the folder");
        assert!(!kills.have_risen());
        std::fs::remove_dir_all(&root).expect("the folder");
    }

    #[cfg(not(miri))]
    #[test]
    fn this_system_counts_kills() {
        match OomKills::before(std::process::id()) {
            Some(kills) => assert!(!kills.have_risen(), "{kills:?}"),
            None => eprintln!("skipped: this system has no count of kills for want of memory"),
        }
    }
}
