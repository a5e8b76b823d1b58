package main

import (
	"strings"
	"testing"

	"github.com/pintle/pintle/sdk/go/pintletest"
)

func TestAFileIsWritten(t *testing.T) {
	built, err := pintletest.New().File("local://dockerfile", "Buildfile", "write /a b\n").Build(language{}, nil)
	if err != nil || !strings.Contains(built.Graph, "mkfile /a") {
		t.Fatal(built, err)
	}
}
