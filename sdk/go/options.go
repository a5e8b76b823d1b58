package pintle

import (
	"fmt"
	"strconv"
)

// Option is an option of a source, a command, a file action or a mount. The host refuses those that do not fit there.
type Option struct {
	attrs  []Attr
	env    []Attr
	mounts []Mount
	at     []Location
	from   *State
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

// Options of every vertex.

// Name is shown in the progress instead of a generated text.
func Name(text string) Option { return Attribute("name", text) }

// Description is free text about the vertex.
func Description(key, text string) Option { return Attribute("description."+key, text) }

// Platform is os/arch[/variant].
func Platform(platform string) Option { return Attribute("platform", platform) }

// IgnoreCache runs it even where the cache has a result.
func IgnoreCache() Option { return flag("ignore-cache") }

// Group is the progress group that it is shown in.
func Group(id, name string) Option {
	return Option{attrs: []Attr{{"group", id}, {"group-name", name}}}
}

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

// Filename is what a download is called.
func Filename(name string) Option { return Attribute("filename", name) }

// KeepGitDir keeps .git.
func KeepGitDir() Option { return flag("keep-git-dir") }

// Options of commands.

// Env is an environment variable.
func Env(name, value string) Option { return Option{env: []Attr{{name, value}}} }

// With mounts something.
func With(mounts ...Mount) Option { return Option{mounts: mounts} }

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

// ValidExitCodes are codes that count as success; 0 does not, unless given too.
func ValidExitCodes(codes ...int) Option {
	var option Option
	for _, code := range codes {
		option.attrs = append(option.attrs, Attr{"valid-exit-code", strconv.Itoa(code)})
	}
	return option
}

// ExtraHost is a line of /etc/hosts.
func ExtraHost(name, ip string) Option { return Attribute("extra-host", name+"="+ip) }

// Options of file actions and mounts.

// Mode is a file mode.
func Mode(mode uint32) Option { return Attribute("mode", fmt.Sprintf("%o", mode)) }

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

// Wildcard says that the path is a pattern.
func Wildcard() Option { return flag("wildcard") }

// EmptyWildcard says that a pattern that matches nothing is no error.
func EmptyWildcard() Option { return flag("empty-wildcard") }

// Unpack copies what is in an archive.
func Unpack() Option { return flag("unpack") }

// AllowNotFound says that nothing to remove is no error.
func AllowNotFound() Option { return flag("allow-not-found") }

// Selector is a path inside of what is mounted.
func Selector(path string) Option { return Attribute("selector", path) }

// Readonly makes a mount not writable.
func Readonly() Option { return flag("readonly") }

// NoOutput drops what the command writes to a mount.
func NoOutput() Option { return Attribute("output", "false") }

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
