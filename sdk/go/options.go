package pintle

import (
	"fmt"
	"strconv"
	"strings"
)

// Option is an option of a source, a command, a file action, a mount, a query or a warning. The host refuses those that do not fit there.
type Option struct {
	attrs  []Attr
	env    []Attr
	mounts []Mount
	at     []Location
	from   *State
	// about is the vertex that a warning is about.
	about *uint32
	// content is the definition of a `build`.
	content []byte
}

// Attribute is an option by its word of attributes.md.
func Attribute(word, value string) Option { return Option{attrs: []Attr{{word, value}}} }

func words(word string, values []string) Option {
	attrs := make([]Attr, len(values))
	for i, value := range values {
		attrs[i] = Attr{word, value}
	}
	return Option{attrs: attrs}
}

func number(word string, value int64) Option { return Attribute(word, strconv.FormatInt(value, 10)) }
func flag(word string) Option                { return Attribute(word, "true") }
func truth(word string, value bool) Option   { return Attribute(word, strconv.FormatBool(value)) }

// Options of every vertex.

// Name is shown in the progress instead of a generated text.
func Name(text string) Option { return Attribute("name", text) }

// Description is free text about the vertex.
func Description(key, text string) Option { return Attribute("description."+key, text) }

// Platform is os/arch[/variant].
func Platform(platform string) Option { return Attribute("platform", platform) }

// OSVersion is of the platform; Windows only.
func OSVersion(version string) Option { return Attribute("os-version", version) }

// OSFeature is of the platform; Windows only.
func OSFeature(features ...string) Option { return words("os-feature", features) }

// Constraint is filters that the worker must match.
func Constraint(filters ...string) Option { return words("constraint", filters) }

// IgnoreCache runs it even where the cache has a result.
func IgnoreCache() Option { return flag("ignore-cache") }

// ExportCache says whether the result is exported to caches; the exporter decides where it is not given.
func ExportCache(value bool) Option { return truth("export-cache", value) }

// Cap is a capability that the vertex needs, by BuildKit's name.
func Cap(name string) Option { return flag("cap." + name) }

// Group is the progress group that it is shown in.
func Group(id, name string) Option {
	return Option{attrs: []Attr{{"group", id}, {"group-name", name}}}
}

// GroupWeak says that the group gives way to a group of the parent.
func GroupWeak() Option { return flag("group-weak") }

// Memory is a limit in bytes.
func Memory(bytes int64) Option { return number("memory", bytes) }

// MemorySwap is a limit of memory and swap in bytes; -1 is none.
func MemorySwap(bytes int64) Option { return number("memory-swap", bytes) }

// CPUShares is a relative weight.
func CPUShares(weight int64) Option { return number("cpu-shares", weight) }

// CPUPeriod is in microseconds.
func CPUPeriod(microseconds int64) Option { return number("cpu-period", microseconds) }

// CPUQuota is in microseconds for each period.
func CPUQuota(microseconds int64) Option { return number("cpu-quota", microseconds) }

// CpusetCpus is for instance 0-3.
func CpusetCpus(set string) Option { return Attribute("cpuset-cpus", set) }

// CpusetMems is for instance 0,1.
func CpusetMems(set string) Option { return Attribute("cpuset-mems", set) }

// At is where it comes from in source texts.
func At(places ...Location) Option { return Option{at: places} }

// Options of sources.

// ResolveMode is default, pull or local.
func ResolveMode(mode string) Option { return Attribute("resolve-mode", mode) }

// Checksum is a digest that the source must have.
func Checksum(digest string) Option { return Attribute("checksum", digest) }

// Include takes only what matches; of a directory, or of a copy.
func Include(patterns ...string) Option { return words("include", patterns) }

// Exclude leaves out what matches.
func Exclude(patterns ...string) Option { return words("exclude", patterns) }

// Follow takes also what these paths lead to through symlinks.
func Follow(paths ...string) Option { return words("follow", paths) }

// SharedKey names the mirror that transfers share.
func SharedKey(key string) Option { return Attribute("shared-key", key) }

// LayerLimit takes only so many layers of an image, from the lowest.
func LayerLimit(layers int64) Option { return number("layer-limit", layers) }

// RecordType is the kind of cache record of an image: internal or frontend.
func RecordType(kind string) Option { return Attribute("record-type", kind) }

// Session is what holds a directory or a layout.
func Session(id string) Option { return Attribute("session", id) }

// Store is the name of a layout in its session.
func Store(name string) Option { return Attribute("store", name) }

// Differ is none or metadata: how changed files of a directory are told.
func Differ(how string) Option { return Attribute("differ", how) }

// Unique makes the vertex differ from its like.
func Unique(text string) Option { return Attribute("unique", text) }

// MetadataOnly sends names and metadata of a directory, no contents.
func MetadataOnly() Option { return flag("metadata-only") }

// MetadataOnlyExcept sends contents of what matches all the same.
func MetadataOnlyExcept(patterns ...string) Option { return words("metadata-only-except", patterns) }

// Filename is what a download, or a blob, is called.
func Filename(name string) Option { return Attribute("filename", name) }

// KeepGitDir keeps .git.
func KeepGitDir() Option { return flag("keep-git-dir") }

// FullURL is a repository's URL as the user wrote it, with its transport.
func FullURL(url string) Option { return Attribute("full-url", url) }

// SkipSubmodules leaves submodules out.
func SkipSubmodules() Option { return flag("skip-submodules") }

// Mtime is checkout or commit: which time files of a repository get.
func Mtime(which string) Option { return Attribute("mtime", which) }

// FetchByCommit asks the server for the checksum, not for the ref.
func FetchByCommit() Option { return flag("fetch-by-commit") }

// Bundle reads a repository from this bundle instead of the server.
func Bundle(source string) Option { return Attribute("bundle", source) }

// CheckoutBundle gives a bundle instead of a tree.
func CheckoutBundle() Option { return flag("checkout-bundle") }

// AuthTokenSecret is the id of the secret with a token.
func AuthTokenSecret(id string) Option { return Attribute("auth-token-secret", id) }

// AuthHeaderSecret is the id of the secret with the Authorization header.
func AuthHeaderSecret(id string) Option { return Attribute("auth-header-secret", id) }

// KnownSSHHosts are lines of a known_hosts file.
func KnownSSHHosts(lines string) Option { return Attribute("known-ssh-hosts", lines) }

// MountSSHSock is the id of the agent to forward.
func MountSSHSock(id string) Option { return Attribute("mount-ssh-sock", id) }

// SignatureKey must have signed the commit or tag, or the download.
func SignatureKey(key string) Option { return Attribute("signature-key", key) }

// SignatureRejectExpired says that an expired key is no key.
func SignatureRejectExpired() Option { return flag("signature-reject-expired") }

// SignatureRequireTag says that the tag must be signed.
func SignatureRequireTag() Option { return flag("signature-require-tag") }

// SignatureIgnoreTag says that only the commit's signature counts.
func SignatureIgnoreTag() Option { return flag("signature-ignore-tag") }

// Signature is the detached signature of a download.
func Signature(text string) Option { return Attribute("signature", text) }

// Header is a header of a download's request.
func Header(name, value string) Option { return Attribute("header."+strings.ToLower(name), value) }

// Options of queries.

// NoConfig does not fetch the image's config.
func NoConfig() Option { return flag("no-config") }

// LogName is shown in the progress.
func LogName(text string) Option { return Attribute("log-name", text) }

// Objects of a git source: answer the commit, and an annotated tag, as git stores them.
func Objects() Option { return flag("objects") }

// Options of warnings.

// Level is 1 unless given; larger is louder.
func Level(level int64) Option { return number("level", level) }

// Detail is longer texts, a line each.
func Detail(lines ...string) Option { return words("detail", lines) }

// URL is where more is to be read.
func URL(url string) Option { return Attribute("url", url) }

// About is the tree that a warning is about.
func About(state State) Option {
	if state.edge == nil {
		return Option{}
	}
	return Option{about: &state.edge.Vertex}
}

// Options of commands.

// Env is an environment variable.
func Env(name, value string) Option { return Option{env: []Attr{{name, value}}} }

// Mounts mounts something.
func Mounts(mounts ...Mount) Option { return Option{mounts: mounts} }

// Cwd is the working directory, absolute.
func Cwd(path string) Option { return Attribute("cwd", path) }

// User is user[:group], names or numbers.
func User(user string) Option { return Attribute("user", user) }

// Network is host or none.
func Network(mode string) Option { return Attribute("network", mode) }

// Security is insecure.
func Security(mode string) Option { return Attribute("security", mode) }

// Hostname is the name of the machine inside.
func Hostname(name string) Option { return Attribute("hostname", name) }

// ReadonlyRoot makes the root filesystem not writable.
func ReadonlyRoot() Option { return flag("readonly-root") }

// NoRootOutput drops what the command writes to the root filesystem.
func NoRootOutput() Option { return flag("no-root-output") }

// ValidExitCode is codes that count as success; 0 does not, unless given too.
func ValidExitCode(codes ...int) Option {
	var option Option
	for _, code := range codes {
		option.attrs = append(option.attrs, Attr{"valid-exit-code", strconv.Itoa(code)})
	}
	return option
}

// ExtraHost is a line of /etc/hosts.
func ExtraHost(name, ip string) Option { return Attribute("extra-host", name+"="+ip) }

// Ulimit is a resource limit by its name without RLIMIT_, in lower case.
func Ulimit(name string, soft, hard int64) Option {
	return Attribute("ulimit", fmt.Sprintf("%s=%d:%d", name, soft, hard))
}

// CgroupParent is the parent of the step's cgroup.
func CgroupParent(parent string) Option { return Attribute("cgroup-parent", parent) }

// Device is CDI names of devices.
func Device(names ...string) Option { return words("device", names) }

// OptionalDevice is CDI names of devices that may be missing.
func OptionalDevice(names ...string) Option { return words("optional-device", names) }

// ProxyHTTP is http_proxy of the process; not part of the cache key.
func ProxyHTTP(url string) Option { return Attribute("proxy-http", url) }

// ProxyHTTPS is https_proxy, likewise.
func ProxyHTTPS(url string) Option { return Attribute("proxy-https", url) }

// ProxyFTP is ftp_proxy, likewise.
func ProxyFTP(url string) Option { return Attribute("proxy-ftp", url) }

// ProxyNo is no_proxy, likewise.
func ProxyNo(hosts string) Option { return Attribute("proxy-no", hosts) }

// ProxyAll is all_proxy, likewise.
func ProxyAll(url string) Option { return Attribute("proxy-all", url) }

// KeepMountStubs leaves parents of mount points that had to be made.
func KeepMountStubs() Option { return flag("keep-mount-stubs") }

// Options of file actions and mounts.

// Mode is a file mode.
func Mode(mode uint32) Option { return Attribute("mode", fmt.Sprintf("%o", mode)) }

// Chmod is a file mode of a copy, octal digits or symbolic (`u+x,go-w`).
func Chmod(mode string) Option { return Attribute("mode", mode) }

// Owner is user[:group], names or numbers.
func Owner(owner string) Option { return Attribute("owner", owner) }

// Parents makes parents of a directory too.
func Parents() Option { return flag("parents") }

// CreateParents makes parents of the destination.
func CreateParents() Option { return flag("create-parents") }

// ContentsOnly copies what is in a directory, not the directory.
func ContentsOnly() Option { return flag("contents-only") }

// FollowLinks copies what a symlink points to.
func FollowLinks() Option { return flag("follow-links") }

// Wildcard says that the path of a copy or a removal is a pattern, such as *.txt; without this, *, ? and [ are taken as they are.
func Wildcard() Option { return flag("wildcard") }

// EmptyWildcard says that a pattern that matches nothing is no error.
func EmptyWildcard() Option { return flag("empty-wildcard") }

// Unpack copies what is in an archive.
func Unpack() Option { return flag("unpack") }

// Required is paths that must be among what is copied, with [Include].
func Required(paths ...string) Option { return words("required", paths) }

// Replace replaces what is in the way and of another kind.
func Replace() Option { return flag("replace") }

// Created is a modification time in nanoseconds since 1970.
func Created(nanoseconds int64) Option { return number("created", nanoseconds) }

// AllowNotFound says that nothing to remove is no error.
func AllowNotFound() Option { return flag("allow-not-found") }

// Selector is a path inside of what is mounted.
func Selector(path string) Option { return Attribute("selector", path) }

// Readonly makes a mount not writable.
func Readonly() Option { return flag("readonly") }

// NoOutput drops what the command writes to a mount.
func NoOutput() Option { return Attribute("output", "false") }

// ContentCache is default, on or off: whether the contents of a mount are part of the cache key.
func ContentCache(mode string) Option { return Attribute("content-cache", mode) }

// Sharing is shared, private or locked.
func Sharing(mode string) Option { return Attribute("sharing", mode) }

// From is what a cache holds at first.
func From(state State) Option { return Option{from: &state} }

// Size is that of a directory in memory, in bytes.
func Size(bytes int64) Option { return number("size", bytes) }

// ID is the name of a secret or an agent.
func ID(id string) Option { return Attribute("id", id) }

// AsEnv gives a secret as an environment variable.
func AsEnv(name string) Option { return Attribute("env", name) }

// Optional says that a secret or an agent may be missing.
func Optional() Option { return flag("optional") }

// UID is the owner of a secret or an agent's socket.
func UID(uid int64) Option { return number("uid", uid) }

// GID is the group of a secret or an agent's socket.
func GID(gid int64) Option { return number("gid", gid) }

// Content is the definition of a `build`.
func Content(definition []byte) Option { return Option{content: definition} }

// gathered puts options together.
func gathered(options []Option) Option {
	var all Option
	for _, option := range options {
		all.attrs = append(all.attrs, option.attrs...)
		all.env = append(all.env, option.env...)
		all.mounts = append(all.mounts, option.mounts...)
		all.at = append(all.at, option.at...)
		if option.from != nil {
			all.from = option.from
		}
		if option.about != nil {
			all.about = option.about
		}
		if option.content != nil {
			all.content = option.content
		}
	}
	return all
}

// value answers an option's value by its word.
func (o Option) value(word string) string {
	for _, attr := range o.attrs {
		if attr.Word == word {
			return attr.Value
		}
	}
	return ""
}
