// llbsample writes LLB definitions made by BuildKit's own Go library, and the JSON that it shows them in, two files a sample: the
// answer key for digests and for the answers to frontend.convertllb.
//
//	go run ./llbsample ../cases/llb
package main

import (
	"bytes"
	"context"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	armv7 = ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	when  = time.Unix(1700000000, 123)
)

func main() {
	dir := os.Args[1]
	for name, state := range samples() {
		def, err := state.Marshal(context.Background(), llb.Platform(amd64))
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		var out bytes.Buffer
		if err := llb.WriteTo(def, &out); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pb"), out.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
		text, err := shown(def)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// shown is a definition as BuildKit's Dockerfile frontend shows one.
func shown(def *llb.Definition) ([]byte, error) {
	res := &convertllb.Result{Def: map[digest.Digest]*pb.Op{}, Metadata: def.Metadata, Source: def.Source}
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return nil, err
		}
		res.Def[digest.FromBytes(dt)] = &op
	}
	answer, err := res.ToResult()
	if err != nil {
		return nil, err
	}
	return answer.Metadata["result.json"], nil
}

func samples() map[string]llb.State {
	return map[string]llb.State{
		"sources":     sources(),
		"exec":        exec(),
		"mounts":      mounts(),
		"files":       files(),
		"merge-diff":  mergeDiff(),
		"build":       nested(),
		"metadata":    metadata(),
		"source-map":  sourceMap(),
		"empty":       empty(),
		"scratch":     llb.Scratch(),
		"passthrough": passthrough(),
		"second":      secondOutput(),
	}
}

func alpine() llb.State { return llb.Image("docker.io/library/alpine:3.20") }

func sources() llb.State {
	return llb.Merge([]llb.State{
		alpine(),
		llb.Image("alpine", llb.ResolveModeForcePull, llb.WithLayerLimit(2), llb.Platform(armv7)),
		llb.Image("alpine", llb.ResolveModePreferLocal),
		llb.OCILayout("name@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			llb.OCIStore("session", "store")),
		llb.Local("context", llb.SessionID("s"), llb.IncludePatterns([]string{"a", "b/*"}),
			llb.ExcludePatterns([]string{"*.md"}), llb.FollowPaths([]string{"link"}), llb.SharedKeyHint("hint")),
		llb.Local("plain", llb.LocalUniqueID("unique")),
		llb.Git("https://github.com/moby/buildkit.git", "master", llb.KeepGitDir(), llb.AuthTokenSecret("token")),
		llb.HTTP("https://example.com/a.tar.gz", llb.Filename("a.tgz"), llb.Chmod(0o600), llb.Chown(1, 2),
			llb.Checksum("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
	})
}

// empty has what is easily lost: empty keys, values and messages.
func empty() llb.State {
	attrs := map[string]string{"": "no key", "no value": ""}
	source := llb.NewSource("http://example.com", attrs, llb.Constraints{})
	return llb.NewState(source.Output()).Run(llb.Shlex("true"), llb.WithProxy(llb.ProxyEnv{})).Root()
}

func exec() llb.State {
	base := alpine().AddEnv("PATH", "/bin").AddEnv("EMPTY", "").Dir("/src").User("nobody:1000").Hostname("box").
		AddExtraHost("db", net.ParseIP("10.0.0.1")).AddUlimit(llb.UlimitNofile, 1024, -1).
		WithCgroupParent("/parent").Network(pb.NetMode_NONE)
	first := base.Run(llb.Args([]string{"/bin/sh", "-c", "make"}), llb.ValidExitCodes(0, 3, 255),
		llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://p", NoProxy: "localhost", AllProxy: "socks5://a"})).Root()
	second := first.Run(llb.Shlex("true"), llb.Security(pb.SecurityMode_INSECURE), llb.Network(pb.NetMode_HOST),
		llb.AddCDIDevice(llb.CDIDeviceName("vendor.com/gpu=0"), llb.CDIDeviceOptional)).Root()
	return second.Run(llb.Shlex("id"), llb.Platform(armv7), llb.Require("label==x", "other")).Root()
}

func mounts() llb.State {
	cache := llb.Scratch().File(llb.Mkdir("/cache", 0o755))
	return alpine().Run(llb.Shlex("make"),
		llb.AddMount("/ro", alpine(), llb.Readonly, llb.SourcePath("/etc")),
		llb.AddMount("/rw", llb.Scratch()),
		llb.AddMount("/forced", alpine(), llb.ForceNoOutput),
		llb.AddMount("/content", alpine(), llb.Readonly, llb.ContentCache(llb.MountContentCacheOn)),
		llb.AddMount("/contentless", alpine(), llb.Readonly, llb.ContentCache(llb.MountContentCacheOff)),
		llb.AddMount("/root/.cache", cache, llb.AsPersistentCacheDir("go", llb.CacheMountLocked), llb.SourcePath("/cache")),
		llb.AddMount("/shared", llb.Scratch(), llb.AsPersistentCacheDir("shared", llb.CacheMountShared)),
		llb.AddMount("/private", llb.Scratch(), llb.AsPersistentCacheDir("private", llb.CacheMountPrivate)),
		llb.AddMount("/tmp", llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(1<<20))),
		llb.AddMount("/tmp2", llb.Scratch(), llb.Tmpfs()),
		llb.AddSecret("/run/secrets/a", llb.SecretID("a"), llb.SecretFileOpt(1, 2, 0o400), llb.SecretOptional),
		llb.AddSecretWithDest("b", nil, llb.SecretAsEnvName("B")),
		llb.AddSSHSocket(llb.SSHID("default"), llb.SSHSocketTarget("/ssh"), llb.SSHSocketOpt("/ssh", 3, 4, 0o600), llb.SSHOptional),
	).Root()
}

func files() llb.State {
	local := llb.Local("context", llb.LocalUniqueID("unique"))
	base := alpine().Dir("/work")
	out := base.File(
		llb.Mkdir("a/b", 0o750, llb.WithParents(true), llb.WithUIDGID(1, 0), llb.WithCreatedTime(when)).
			Mkfile("a/b/c", 0o644, []byte("data\x00more"), llb.WithUser("nobody:daemon")).
			Mkfile("/empty", 0, nil).
			Symlink("/target", "link", llb.WithUIDGID(5, 6)).
			Rm("old*", llb.WithAllowNotFound(true), llb.WithAllowWildcard(true)).
			Rm("/gone").
			Copy(local, "/src/*", "dest/", &llb.CopyInfo{
				FollowSymlinks: true, CopyDirContentsOnly: true, AttemptUnpack: true, CreateDestPath: true,
				AllowWildcard: true, AllowEmptyWildcard: true, IncludePatterns: []string{"*.go", "x"},
				ExcludePatterns: []string{"vendor"}, RequiredPaths: []string{"/src/main.go"},
				AlwaysReplaceExistingDestPaths: true, CreatedTime: &when,
				Mode: &llb.ChmodOpt{Mode: 0o4755}, ChownOpt: &llb.ChownOpt{User: &llb.UserOpt{UID: 7}},
			}).
			Copy(local, "/x", "/y", &llb.CopyInfo{Mode: &llb.ChmodOpt{ModeStr: "u+x,go-w"}}).
			Copy(llb.Mkfile("/made", 0o600, []byte("m")).WithState(base), "/made", "/copied"))
	return out.File(llb.Copy(llb.Scratch(), "/", "/nothing"))
}

func mergeDiff() llb.State {
	base := alpine()
	built := base.Run(llb.Shlex("touch /a")).Root()
	return llb.Merge([]llb.State{
		base, llb.Diff(base, built), llb.Diff(llb.Scratch(), built), llb.Diff(built, llb.Scratch()),
	})
}

func nested() llb.State {
	def := alpine()
	return llb.Merge([]llb.State{
		def.With(llbbuild.Build()), def.With(llbbuild.Build(llbbuild.WithFilename("/def.pb"))),
	})
}

func metadata() llb.State {
	return alpine().Run(llb.Shlex("a"), llb.IgnoreCache, llb.WithCustomName("named"),
		llb.WithDescription(map[string]string{"key": "", "other": "value"}), llb.WithExportCache(),
		llb.ProgressGroup("id", "name", true), llb.MemoryLimit(1<<30), llb.CPUQuota(-1), llb.CpusetCpus("0-1")).
		Run(llb.Shlex("b"), llb.WithoutExportCache()).Root()
}

func sourceMap() llb.State {
	sm := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte("FROM alpine\nRUN a\n"))
	line := func(n int32) llb.ConstraintsOpt {
		return sm.Location([]*pb.Range{{Start: &pb.Position{Line: n}, End: &pb.Position{Line: n, Character: 5}}})
	}
	return llb.Image("alpine", line(1)).Run(llb.Shlex("a"), line(2), line(1)).Root()
}

func passthrough() llb.State {
	return llb.NewPassthrough("p", []llb.PassthroughInput{
		{State: alpine().Run(llb.Shlex("test")).Root()}, {State: alpine(), Output: true},
	})
}

func secondOutput() llb.State {
	run := alpine().Run(llb.Shlex("make"))
	return run.AddMount("/out", llb.Scratch())
}
