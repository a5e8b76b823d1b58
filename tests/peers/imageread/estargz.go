package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"

	"github.com/containerd/stargz-snapshotter/estargz"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/go-digest"
)

// readStargz reads the layers of a layout's only image as a snapshotter does that fetches files one by one: by the list of each layer,
// every piece of every file compared with its digest.
func readStargz(dir string) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	layers, err := image.Manifest()
	if err != nil {
		return err
	}
	for _, descriptor := range layers.Layers {
		if err := readStargzLayer(dir, descriptor); err != nil {
			return fmt.Errorf("layer %s: %w", descriptor.Digest, err)
		}
	}
	return nil
}

func readStargzLayer(dir string, descriptor v1.Descriptor) error {
	file, err := os.Open(filepath.Join(dir, "blobs", descriptor.Digest.Algorithm, descriptor.Digest.Hex))
	if err != nil {
		return err
	}
	defer file.Close()
	blob := io.NewSectionReader(file, 0, descriptor.Size)
	reader, err := estargz.Open(blob)
	if err != nil {
		return err
	}
	verifier, err := reader.VerifyTOC(digest.Digest(descriptor.Annotations[estargz.TOCJSONDigestAnnotation]))
	if err != nil {
		return err
	}
	plain, err := estargz.Unpack(blob, new(estargz.GzipDecompressor))
	if err != nil {
		return err
	}
	archive, err := io.Copy(io.Discard, plain)
	if err != nil {
		return err
	}
	whole, err := strconv.ParseInt(descriptor.Annotations[estargz.StoreUncompressedSizeAnnotation], 10, 64)
	if err != nil || whole <= archive {
		return fmt.Errorf("uncompressed it has more than its archive of %d bytes, and says %d: %w", archive, whole, err)
	}
	root, ok := reader.Lookup("")
	if !ok {
		return fmt.Errorf("it has no root")
	}
	fmt.Println("layer")
	return readStargzDir(reader, verifier, root, "")
}

func readStargzDir(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, dir *estargz.TOCEntry, name string) error {
	children := map[string]*estargz.TOCEntry{}
	var names []string
	dir.ForeachChild(func(base string, entry *estargz.TOCEntry) bool {
		children[base] = entry
		names = append(names, base)
		return true
	})
	sort.Strings(names)
	for _, base := range names {
		entry, name := children[base], path.Join(name, base)
		fmt.Println(entry.Type, entry.Stat().Mode(), name, entry.Size, entry.LinkName)
		var err error
		switch entry.Type {
		case "dir":
			err = readStargzDir(reader, verifier, entry, name)
		case "reg":
			err = readStargzFile(reader, verifier, entry)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func readStargzFile(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, entry *estargz.TOCEntry) error {
	file, err := reader.OpenFile(entry.Name)
	if err != nil {
		return err
	}
	for offset := int64(0); offset < entry.Size; {
		chunk, ok := reader.ChunkEntryForOffset(entry.Name, offset)
		if !ok {
			return fmt.Errorf("no piece at %d", offset)
		}
		check, err := verifier.Verifier(chunk)
		if err != nil {
			return err
		}
		if _, err := io.Copy(check, io.NewSectionReader(file, chunk.ChunkOffset, chunk.ChunkSize)); err != nil {
			return err
		}
		if !check.Verified() {
			return fmt.Errorf("the piece at %d has another digest", offset)
		}
		offset += chunk.ChunkSize
	}
	return nil
}
