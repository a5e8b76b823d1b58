// dockerfile runs BuildKit's own Dockerfile frontend over scripted images and files. It reads cases as JSON, one a line, and
// answers each with a line: the definitions that the frontend asked to be built, and what else it answered.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
)

// A case is what the frontend is given.
type testCase struct {
	Opts map[string]string
	// By full reference, or by full reference and platform: "docker.io/library/alpine:latest linux/arm64".
	Images map[string]image
	// By the identifier of a source, then by path.
	Files map[string]map[string]string
	// Named inputs, each a source's identifier.
	Inputs map[string]string
	// When a commit or a download was made, by the source's identifier; in seconds since 1970.
	Times         map[string]int64
	BuildPlatform string
}

type image struct {
	Digest string
	Config string
}

// What the frontend answers.
type answer struct {
	// Definitions in protobuf by platform, "" when there is one only.
	Refs     map[string][]byte
	Metadata map[string]string
	Warnings []warning
	Error    string
}

type warning struct {
	Message string
	Detail  []string
	URL     string
	// First and last line of each range.
	Lines [][2]int32
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var given testCase
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(run(&given)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func run(given *testCase) *answer {
	host := &host{given: given, answer: answer{Refs: map[string][]byte{}, Metadata: map[string]string{}}}
	result, err := builder.Build(context.Background(), host)
	if err == nil {
		err = host.collect(result)
	}
	if err != nil {
		host.answer.Refs, host.answer.Metadata, host.answer.Error = nil, nil, err.Error()
	}
	return &host.answer
}
