// sigsign signs what lies in a registry without a key of its own, as `cosign sign` does: an instance of sigstore that sigstore-go makes for
// tests gives it a certificate, a log and timestamps. sigstore-go checks each signature before it is pushed.
//
//	sigsign KIND SUBJECT ISSUER ROOT NAME@DIGEST
//
// KIND is tag (a payload under the tag sha256-HEX.sig, with the promise of a log), v1 (a bundle that refers to the manifest, with a promise
// and a proof) or v2 (a bundle with a proof and a timestamp). The trust root is written to ROOT.
package main

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

const (
	bundleType  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType = "application/vnd.dev.cosign.simplesigning.v1+json"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 6 {
		log.Fatal("usage: sigsign tag|v1|v2 SUBJECT ISSUER ROOT NAME@DIGEST")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		log.Fatalf("sigsign: %v", err)
	}
}

func run(kind, subject, issuer, rootFile, target string) error {
	digest, err := name.NewDigest(target)
	if err != nil {
		return err
	}
	instance, err := ca.NewVirtualSigstore()
	if err != nil {
		return err
	}
	trusted, err := trustedRoot(instance, kind)
	if err != nil {
		return err
	}
	written, err := json.Marshal(trusted)
	if err != nil {
		return err
	}
	if err := os.WriteFile(rootFile, written, 0o644); err != nil {
		return err
	}
	signer := signer{instance, trusted, subject, issuer, digest}
	if kind == "tag" {
		return signer.tag()
	}
	return signer.refer(kind)
}

// trustedRoot is what vouches for the signatures of an instance. Its certificates come without the receipts of certificate logs.
func trustedRoot(instance *ca.VirtualSigstore, kind string) (*root.TrustedRoot, error) {
	logs := instance.RekorLogs()
	for id, log := range logs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return nil, err
		}
		log.ID = raw
	}
	var clocks []root.TimestampingAuthority
	if kind == "v2" {
		clocks = instance.TimestampingAuthorities()
	}
	return root.NewTrustedRoot(root.TrustedRootMediaType01, instance.FulcioCertificateAuthorities(), nil, clocks, logs)
}

type signer struct {
	instance        *ca.VirtualSigstore
	trusted         *root.TrustedRoot
	subject, issuer string
	digest          name.Digest
}

// signed is a signature with what vouches for it.
type signed struct {
	entity      *ca.TestEntity
	certificate *x509.Certificate
	entry       *protorekor.TransparencyLogEntry
}

// sign lets the instance sign. The certificate begins after the moment that the log is to say, unless both fall into one second: then once
// more.
func (s signer) sign(kind, version string, sign func(time.Time) (*ca.TestEntity, error)) (*signed, error) {
	for {
		now := time.Now()
		entity, err := sign(now)
		if err != nil {
			return nil, err
		}
		content, err := entity.VerificationContent()
		if err != nil {
			return nil, err
		}
		certificate := content.Certificate()
		if certificate.NotBefore.Unix() > now.Unix() {
			continue
		}
		entries, err := entity.TlogEntries()
		if err != nil {
			return nil, err
		}
		entry := entries[0].TransparencyLogEntry()
		entry.KindVersion = &protorekor.KindVersion{Kind: kind, Version: version}
		if version == "0.0.1" {
			if err := s.promise(entry); err != nil {
				return nil, err
			}
		}
		return &signed{entity, certificate, entry}, nil
	}
}

// promise has the log promise an entry.
func (s signer) promise(entry *protorekor.TransparencyLogEntry) error {
	promise, err := s.instance.RekorSignPayload(tlog.RekorPayload{
		Body:           entry.CanonicalizedBody,
		IntegratedTime: entry.IntegratedTime,
		LogIndex:       entry.LogIndex,
		LogID:          hex.EncodeToString(entry.LogId.KeyId),
	})
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	return err
}

// tag lays a payload beside the manifest, as cosign does.
func (s signer) tag() error {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": s.digest.Context().Name()},
			"image":    map[string]string{"docker-manifest-digest": s.digest.DigestStr()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return err
	}
	signed, err := s.sign("hashedrekord", "0.0.1", func(now time.Time) (*ca.TestEntity, error) {
		return s.instance.SignAtTime(s.subject, s.issuer, payload, now)
	})
	if err != nil {
		return err
	}
	content, err := signed.entity.SignatureContent()
	if err != nil {
		return err
	}
	certificate, err := cryptoutils.MarshalCertificateToPEM(signed.certificate)
	if err != nil {
		return err
	}
	chain, err := cryptoutils.MarshalCertificatesToPEM(chainOf(s.instance))
	if err != nil {
		return err
	}
	entry, err := json.Marshal(map[string]any{
		"SignedEntryTimestamp": signed.entry.InclusionPromise.SignedEntryTimestamp,
		"Payload": map[string]any{
			"body":           signed.entry.CanonicalizedBody,
			"integratedTime": signed.entry.IntegratedTime,
			"logIndex":       signed.entry.LogIndex,
			"logID":          hex.EncodeToString(signed.entry.LogId.KeyId),
		},
	})
	if err != nil {
		return err
	}
	signature, err := json.Marshal(content.Signature())
	if err != nil {
		return err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: static.NewLayer(payload, types.MediaType(payloadType)),
		Annotations: map[string]string{
			"dev.cosignproject.cosign/signature": string(signature[1 : len(signature)-1]),
			"dev.sigstore.cosign/certificate":    string(certificate),
			"dev.sigstore.cosign/chain":          string(chain),
			"dev.sigstore.cosign/bundle":         string(entry),
		},
	})
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(s.digest.DigestStr())
	if err != nil {
		return err
	}
	return remote.Write(s.digest.Context().Tag("sha256-"+hash.Hex+".sig"), mutate.MediaType(image, types.OCIManifestSchema1))
}

func chainOf(instance *ca.VirtualSigstore) []*x509.Certificate {
	authority := instance.FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority)
	return append(authority.Intermediates, authority.Root)
}

// refer pushes a bundle that refers to the manifest.
func (s signer) refer(kind string) error {
	hash, err := v1.NewHash(s.digest.DigestStr())
	if err != nil {
		return err
	}
	statement, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"digest": map[string]string{"sha256": hash.Hex}}},
		"predicateType": "https://sigstore.dev/cosign/sign/v1",
		"predicate":     map[string]any{},
	})
	if err != nil {
		return err
	}
	var signed *signed
	switch kind {
	case "v1":
		signed, err = s.sign("dsse", "0.0.1", func(now time.Time) (*ca.TestEntity, error) {
			return s.instance.AttestAtTime(s.subject, s.issuer, statement, now, true)
		})
	case "v2":
		signed, err = s.sign("hashedrekord", "0.0.2", func(now time.Time) (*ca.TestEntity, error) {
			return s.instance.AttestAtTimeHashedRekordV2(s.subject, s.issuer, statement, now)
		})
	default:
		return fmt.Errorf("kind %q: want tag, v1 or v2", kind)
	}
	if err != nil {
		return err
	}
	text, err := s.bundle(signed, kind == "v2", hash)
	if err != nil {
		return err
	}
	return s.push(text, hash)
}

// bundle writes a bundle, after sigstore-go found nothing wrong with it.
func (s signer) bundle(signed *signed, stamped bool, hash v1.Hash) ([]byte, error) {
	content, err := signed.entity.SignatureContent()
	if err != nil {
		return nil, err
	}
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_Certificate{
			Certificate: &protocommon.X509Certificate{RawBytes: signed.certificate.Raw},
		},
		TlogEntries: []*protorekor.TransparencyLogEntry{signed.entry},
	}
	if stamped {
		signed.entry.IntegratedTime = 0
		stamps, err := signed.entity.Timestamps()
		if err != nil {
			return nil, err
		}
		data := &protobundle.TimestampVerificationData{}
		for _, stamp := range stamps {
			data.Rfc3161Timestamps = append(data.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: stamp})
		}
		material.TimestampVerificationData = data
	}
	envelope := content.(*bundle.Envelope).Envelope
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return nil, err
	}
	made, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType:            bundleType,
		VerificationMaterial: material,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload:     payload,
			PayloadType: envelope.PayloadType,
			Signatures:  []*protodsse.Signature{{Sig: content.Signature()}},
		}},
	})
	if err != nil {
		return nil, err
	}
	if err := s.check(made, stamped, hash); err != nil {
		return nil, fmt.Errorf("sigstore-go refuses it: %w", err)
	}
	return made.MarshalJSON()
}

func (s signer) check(made *bundle.Bundle, stamped bool, hash v1.Hash) error {
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	verifier, err := verify.NewVerifier(s.trusted, options...)
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(hash.Hex)
	if err != nil {
		return err
	}
	identity, err := verify.NewShortCertificateIdentity(s.issuer, "", s.subject, "")
	if err != nil {
		return err
	}
	policy := verify.NewPolicy(verify.WithArtifactDigest("sha256", raw), verify.WithCertificateIdentity(identity))
	_, err = verifier.Verify(made, policy)
	return err
}

// push lays a bundle beside the manifest.
func (s signer) push(text []byte, hash v1.Hash) error {
	about, err := remote.Head(s.digest)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(text, types.MediaType(bundleType)))
	if err != nil {
		return err
	}
	image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), bundleType)
	referring, ok := mutate.Subject(image, *about).(v1.Image)
	if !ok {
		return fmt.Errorf("no image after all")
	}
	own, err := referring.Digest()
	if err != nil {
		return err
	}
	return remote.Write(s.digest.Context().Digest(own.String()), referring)
}
