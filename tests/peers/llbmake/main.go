// llbmake writes a definition made by BuildKit's own Go library to stdout, to be built with buildctl:
//
//	llbmake NAME [IMAGE]
package main

import (
	"bytes"
	"context"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: llbmake NAME [IMAGE], or git-NAME URL ...")
	}
	image := llb.Scratch()
	if len(os.Args) > 2 {
		image = llb.Image(os.Args[2])
	}
	state, ok := states(image)[os.Args[1]]
	if strings.HasPrefix(os.Args[1], "git-") && len(os.Args) > 2 {
		state, ok = repository(os.Args[1], os.Args[2:]), true
	}
	if count, found := strings.CutPrefix(os.Args[1], "merges-"); found {
		state, ok = merges(count), true
	}
	if !ok {
		log.Fatalf("no definition %q", os.Args[1])
	}
	def, err := state.Marshal(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if err := llb.WriteTo(def, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func states(image llb.State) map[string]llb.State {
	hello := file("hello", "from LLB\n")
	run := image.Run(
		llb.Shlex(`/bin/sh -c "(cat /in/hello; echo $WHO; id -u) > /out/work/said"`),
		llb.AddEnv("WHO", "llb"),
		llb.AddMount("/in", hello, llb.Readonly),
		llb.AddMount("/tmp", llb.Scratch(), llb.Tmpfs()),
		llb.User("app"),
	).AddMount("/out", llb.Scratch().File(llb.Mkdir("/work", 0o777)))
	merged := llb.Merge([]llb.State{hello, file("b", "b\n"), file("c", "c\n")})
	changed := merged.File(llb.Rm("/b").Mkfile("/d", 0o600, []byte("d\n")))
	deep := llb.Scratch().File(llb.Mkdir("/a/b", 0o755, llb.WithParents(true)).Mkfile("/a/b/c", 0o644, nil).Mkfile("/a/d", 0o644, nil))
	less := llb.Diff(deep, deep.File(llb.Rm("/a/b/c").Mkfile("/a/e", 0o644, []byte("e\n"))))
	replaced := llb.Copy(llb.Scratch().File(llb.Mkdir("/hello", 0o755).Mkfile("/hello/x", 0o644, nil)), "/hello", "/",
		&llb.CopyInfo{AlwaysReplaceExistingDestPaths: true})
	return map[string]llb.State{
		"file":   hello,
		"run":    run,
		"merge":  merged,
		"diff":   llb.Diff(merged, changed),
		"less":   less,
		"beside": llb.Merge([]llb.State{hello, less}),
		"over":   hello.File(replaced),
		"nested": nested(nested(hello)).File(llb.Mkfile("/after", 0o644, []byte("after\n"))),
	}
}

// repository is a commit of a git repository: its URL, and what else it is had by.
func repository(how string, args []string) llb.State {
	options := []llb.GitOption{}
	switch {
	case how == "git-known" && len(args) == 2:
		known, err := os.ReadFile(args[1])
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, llb.KnownSSHHosts(string(known)), llb.MountSSHSock("default"))
	case how == "git-bundle":
		options = append(options, llb.GitCheckoutBundle())
	case how == "git-from-bundle" && len(args) == 3:
		options = append(options, llb.GitBundleURL(args[1]), llb.GitChecksum(args[2]))
	default:
		log.Fatalf("%s with %d arguments", how, len(args))
	}
	return llb.Git(args[0], "main", options...)
}

// merges is a chain of so many merges of the same two trees: many vertices that make no files.
func merges(count string) llb.State {
	number, err := strconv.Atoi(count)
	if err != nil {
		log.Fatal(err)
	}
	a, b := file("a", "a\n"), file("b", "b\n")
	state := llb.Merge([]llb.State{a, b})
	for i := 0; i < number; i++ {
		state = llb.Merge([]llb.State{state, []llb.State{a, b}[i%2]})
	}
	return state
}

// nested is a definition in a file that a vertex makes.
func nested(state llb.State) llb.State {
	def, err := state.Marshal(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	var out bytes.Buffer
	if err := llb.WriteTo(def, &out); err != nil {
		log.Fatal(err)
	}
	return llb.Scratch().File(llb.Mkfile("/inner.llb", 0o644, out.Bytes())).With(llbbuild.Build(llbbuild.WithFilename("/inner.llb")))
}

func file(name, text string) llb.State {
	return llb.Scratch().File(llb.Mkfile("/"+name, 0o644, []byte(text)))
}
