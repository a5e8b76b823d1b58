package main

import (
	"path"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// copying are the flags of commands that copy; those that are false here have no value.
var copying = map[string]bool{
	"dir": false, "keep-ts": false, "keep-own": false, "if-exists": false, "symlink-no-follow": false, "force": false,
	"chown": true, "chmod": true, "allow-privileged": false,
}

func copyOptions(found []option) []pintle.Option {
	made := []pintle.Option{pintle.CreateParents(), pintle.Wildcard()}
	if !has(found, "symlink-no-follow") {
		made = append(made, pintle.FollowLinks())
	}
	if has(found, "if-exists") {
		made = append(made, pintle.EmptyWildcard())
	}
	if owner := value(found, "chown"); owner != "" {
		made = append(made, pintle.Owner(owner))
	}
	if mode := value(found, "chmod"); mode != "" {
		made = append(made, pintle.Attribute("mode", mode))
	}
	return made
}

func (r *recipe) copy(c command) error {
	found, rest, err := options(c.rest, copying, r.lookup)
	if err != nil {
		return err
	}
	words, err := split(rest, r.lookup)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return pintle.Errorf("COPY %s: want what to copy, and where to", rest)
	}
	sources := words[:len(words)-1]
	dest := r.image.absolute(words[len(words)-1])
	if (has(found, "dir") || len(sources) > 1) && !strings.HasSuffix(dest, "/") {
		dest += "/"
	}
	how := copyOptions(found)
	if !has(found, "dir") {
		how = append(how, pintle.ContentsOnly())
	}
	var actions []pintle.FileAction
	for _, source := range sources {
		from, name, err := r.source(source)
		if err != nil {
			return err
		}
		actions = append(actions, pintle.Copy(from, name, dest, how...))
	}
	r.state = r.state.File(actions, r.name(c), pintle.At(c.at))
	return nil
}

// source is a tree, and the path in it that a COPY names.
func (r *recipe) source(text string) (pintle.State, string, error) {
	words := []string{text}
	if inner, ok := strings.CutPrefix(text, "("); ok {
		var err error
		if words, err = split(strings.TrimSuffix(inner, ")"), r.lookup); err != nil {
			return pintle.State{}, "", err
		}
		if len(words) == 0 {
			return pintle.State{}, "", pintle.Errorf("COPY (): want (+TARGET/ARTIFACT --NAME=VALUE)")
		}
	}
	if !strings.Contains(words[0], "+") {
		context, err := r.context()
		return context, path.Join("/", words[0]), err
	}
	reference, err := refer(words)
	if err != nil {
		return pintle.State{}, "", err
	}
	if reference.artifact == "" {
		return pintle.State{}, "", pintle.Errorf("COPY %s: want an artifact: +%s/NAME", words[0], reference.target)
	}
	other, err := r.lowering.target(reference.target, reference.args)
	if err != nil {
		return pintle.State{}, "", err
	}
	if other.artifacts.Edge() == nil {
		return pintle.State{}, "", pintle.Errorf("COPY %s: +%s has no SAVE ARTIFACT", words[0], reference.target)
	}
	return other.artifacts, path.Join("/", reference.artifact), nil
}

func (r *recipe) saveArtifact(c command) error {
	found, rest, err := options(c.rest, copying, r.lookup)
	if err != nil {
		return err
	}
	words, err := split(rest, r.lookup)
	if err != nil {
		return err
	}
	local := ""
	if n := len(words); n > 3 && words[n-3] == "AS" && words[n-2] == "LOCAL" {
		words, local = words[:n-3], words[n-1]
	}
	if len(words) == 0 || len(words) > 2 {
		return pintle.Errorf("SAVE ARTIFACT %s: want what to save, what as, and AS LOCAL PATH", rest)
	}
	if !r.inTarget {
		return pintle.Errorf("SAVE ARTIFACT: want it in a target")
	}
	source := strings.TrimSuffix(r.image.absolute(words[0]), "/")
	dest := "/"
	if len(words) == 2 {
		dest = image{}.absolute(words[1])
	}
	how := copyOptions(found)
	save := func(tree pintle.State, dest string) pintle.State {
		if source == "" {
			return tree.File([]pintle.FileAction{pintle.Copy(r.state, "/", dest, append(how, pintle.ContentsOnly())...)}, r.name(c))
		}
		return tree.File([]pintle.FileAction{pintle.Copy(r.state, source, dest, how...)}, r.name(c), pintle.At(c.at))
	}
	r.artifacts = save(r.artifacts, dest)
	if local == "" {
		return nil
	}
	if path.IsAbs(local) || strings.HasPrefix(path.Clean(local), "..") {
		return pintle.Errorf("AS LOCAL %s: leads out of the directory that results go to", local)
	}
	r.locals = save(r.locals, image{}.absolute(local))
	return nil
}

func (r *recipe) saveImage(c command) error {
	known := map[string]bool{"push": false, "cache-hint": false, "insecure": false, "without-earthly-labels": false, "cache-from": true}
	_, rest, err := options(c.rest, known, r.lookup)
	if err != nil {
		return err
	}
	if !r.inTarget {
		return pintle.Errorf("SAVE IMAGE: want it in a target")
	}
	if rest, err = expand(rest, r.lookup); err != nil {
		return err
	}
	if rest != "" {
		r.cx.Log("info", "SAVE IMAGE "+rest+": the name of the image is what the build is told with --tag")
	}
	r.savesImage = true
	return nil
}

func (r *recipe) gitClone(c command) error {
	found, rest, err := options(c.rest, map[string]bool{"branch": true, "keep-ts": false}, r.lookup)
	if err != nil {
		return err
	}
	words, err := split(rest, r.lookup)
	if err != nil {
		return err
	}
	if len(words) != 2 {
		return pintle.Errorf("GIT CLONE %s: want a URL and a directory", rest)
	}
	remote := words[0]
	if branch := value(found, "branch"); branch != "" {
		remote += "#" + branch
	}
	repository := r.cx.Git(remote, pintle.At(c.at), r.name(c))
	copied := pintle.Copy(repository, "/", r.image.absolute(words[1]), pintle.ContentsOnly(), pintle.CreateParents())
	r.state = r.state.File([]pintle.FileAction{copied}, pintle.At(c.at), r.name(c))
	return nil
}

func (r *recipe) workdir(c command) error {
	name, err := expand(c.rest, r.lookup)
	if err != nil {
		return err
	}
	if name == "" {
		return pintle.Errorf("WORKDIR: want a directory")
	}
	dir := path.Clean(r.image.absolute(name))
	r.image["WorkingDir"] = dir
	if dir != "/" {
		r.state = r.state.File([]pintle.FileAction{pintle.Mkdir(dir, pintle.Parents())}, pintle.At(c.at), r.name(c))
	}
	return nil
}
