package main

import (
	"regexp"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// command is a line of a recipe, continued lines included.
type command struct {
	// name is in capitals: RUN, SAVE ARTIFACT.
	name string
	// rest is what follows the name.
	rest string
	at   pintle.Location
}

// earthfile is a file as it is written.
type earthfile struct {
	name    string
	version string
	// base is the recipe before all targets, with which each of them begins.
	base    []command
	targets map[string][]command
	// order is that of the targets in the file.
	order []string
}

// versions are those whose files this frontend reads.
var versions = regexp.MustCompile(`^0\.[678]$`)

var header = regexp.MustCompile(`^([a-z][a-zA-Z0-9._-]*):\s*$`)

// line is a logical line: where it begins and ends in the text, and what it says.
type line struct {
	start, end int
	text       string
	indented   bool
}

// lines joins lines that end in a backslash, and leaves out those that are empty or comments.
func lines(text string) []line {
	var all []line
	var open *line
	offset := 0
	for _, raw := range strings.SplitAfter(text, "\n") {
		start := offset
		offset += len(raw)
		trimmed := strings.TrimSpace(raw)
		if strings.HasPrefix(trimmed, "#") || (trimmed == "" && open == nil) {
			continue
		}
		if open == nil {
			first := start + strings.Index(raw, trimmed)
			all = append(all, line{start: first, indented: strings.HasPrefix(raw, " ") || strings.HasPrefix(raw, "\t")})
			open = &all[len(all)-1]
		}
		open.end = start + len(strings.TrimRight(raw, " \t\r\n"))
		continued := strings.HasSuffix(trimmed, `\`)
		open.text = strings.TrimSpace(open.text + " " + strings.TrimSuffix(trimmed, `\`))
		if !continued {
			open = nil
		}
	}
	return all
}

// parse reads an Earthfile.
func parse(name, text string, source *pintle.SourceFile) (*earthfile, error) {
	file := &earthfile{name: name, targets: map[string][]command{}}
	all := lines(text)
	if err := file.checkVersion(all, source); err != nil {
		return nil, err
	}
	target := ""
	for _, line := range all[1:] {
		at := source.At(line.start, line.end)
		if match := header.FindStringSubmatch(line.text); match != nil && !line.indented {
			target = match[1]
			if file.targets[target] != nil || target == "base" {
				return nil, pintle.Errorf("target %s: there is one of this name already", target).At(at)
			}
			file.targets[target] = []command{}
			file.order = append(file.order, target)
			continue
		}
		parsed := parseCommand(line.text, at)
		switch {
		case target == "" && !line.indented:
			file.base = append(file.base, parsed)
		case target != "" && line.indented:
			file.targets[target] = append(file.targets[target], parsed)
		case line.indented:
			return nil, pintle.Errorf("%s: indented before there is a target", parsed.name).At(at)
		default:
			return nil, pintle.Errorf("%s: want a target, as in `name:`; commands of a target are indented", parsed.name).At(at)
		}
	}
	return file, nil
}

func (f *earthfile) checkVersion(all []line, source *pintle.SourceFile) error {
	if len(all) == 0 {
		return pintle.Errorf("%s: empty: want VERSION 0.8 in the first line", f.name)
	}
	at := source.At(all[0].start, all[0].end)
	words := strings.Fields(all[0].text)
	if words[0] != "VERSION" {
		return pintle.Errorf("%s: want VERSION 0.8 in the first line", f.name).At(at)
	}
	if f.version = words[len(words)-1]; !versions.MatchString(f.version) {
		return pintle.Errorf("VERSION %s: this frontend reads 0.6, 0.7 and 0.8", f.version).At(at)
	}
	return nil
}

// pairs are commands of two words, by the first.
var pairs = map[string][]string{
	"SAVE": {"ARTIFACT", "IMAGE"},
	"GIT":  {"CLONE"},
	"FROM": {"DOCKERFILE"},
	"WITH": {"DOCKER"},
}

func parseCommand(text string, at pintle.Location) command {
	name, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	for _, second := range pairs[name] {
		if after, ok := strings.CutPrefix(rest, second); ok && (after == "" || after[0] == ' ') {
			return command{name + " " + second, strings.TrimSpace(after), at}
		}
	}
	return command{name, rest, at}
}
