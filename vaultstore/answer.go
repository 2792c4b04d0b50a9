package vaultstore

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// found is what an answer to a read says of the document.
type found int

const (
	unclear found = iota // nothing: the request failed
	present
	deleted // there was one; the document's Version is that of its mark
	absent  // there never was one, or no trace of it is left
)

// parseRead reads the answer to a request for a document from a KV engine of the
// given version
// (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version,
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1#read-secret).
// The document's bytes are as Vault wrote them.
func parseRead(kvVersion int, a answer) (credential.Document, found) {
	if kvVersion == 1 {
		data, f := parseData[json.RawMessage](a)
		switch {
		case f != present:
			return credential.Document{}, f
		case a.status != http.StatusOK:
			return credential.Document{}, unclear
		}
		return credential.Document{Data: *data}, present
	}
	inner, f := parseData[versioned](a)
	switch {
	case f != present:
		return credential.Document{}, f
	case inner.Metadata.Version == 0:
		return credential.Document{}, unclear
	}
	doc := credential.Document{Version: inner.Metadata.Version, WrittenAt: inner.Metadata.CreatedTime, ReadAt: a.date}
	switch {
	case isNull(inner.Data):
		// A destroyed version has no time; it stays zero.
		doc.DeletedAt, _ = time.Parse(time.RFC3339, inner.Metadata.DeletionTime)
		return doc, deleted
	case a.status != http.StatusOK:
		return credential.Document{}, unclear
	}
	doc.Data = inner.Data
	return doc, present
}

// versioned is the data of an answer from KV version 2.
type versioned struct {
	Data     json.RawMessage `json:"data"`
	Metadata struct {
		CreatedTime  time.Time `json:"created_time"`
		DeletionTime string    `json:"deletion_time"` // empty, or a time
		Version      uint64    `json:"version"`
	} `json:"metadata"`
}

// parseData reads the data of an answer, in one go: a document may be large, and each copy
// of it is the collector's until it comes by. What is not absent or unclear is present.
func parseData[T any](a answer) (*T, found) {
	if a.status != http.StatusOK && a.status != http.StatusNotFound {
		return nil, unclear
	}
	var outer struct {
		Data     *T       `json:"data"`
		Errors   []string `json:"errors"`
		Warnings []string `json:"warnings"`
	}
	switch {
	case json.Unmarshal(a.body, &outer) != nil:
		return nil, unclear
	case outer.Data != nil:
		return outer.Data, present
	// Only a 404 without a word more is a document that is not there. With one, it is a
	// path that leads nowhere.
	case a.status == http.StatusNotFound && outer.Errors != nil && len(outer.Errors) == 0 && len(outer.Warnings) == 0:
		return nil, absent
	}
	return nil, unclear
}

// parseNames reads the answer to a request for a list
// (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#list-secrets): the
// names at that place, each with a slash at its end where more lies below it.
func parseNames(a answer) ([]string, found) {
	var said struct {
		Data     struct{ Keys []string }
		Errors   []string
		Warnings []string
	}
	switch {
	case json.Unmarshal(a.body, &said) != nil:
	case a.status == http.StatusOK && said.Data.Keys != nil:
		return said.Data.Keys, present
	case a.status == http.StatusNotFound && said.Data.Keys == nil && said.Errors != nil && len(said.Errors) == 0 && len(said.Warnings) == 0:
		return nil, absent
	}
	return nil, unclear
}

// parseWritten returns the new version in the answer to a write, 0 if it does not
// say that there is one.
func parseWritten(a answer) uint64 {
	var said struct {
		Data struct {
			Version uint64 `json:"version"`
		} `json:"data"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &said) != nil {
		return 0
	}
	return said.Data.Version
}

func isNull(data json.RawMessage) bool { return len(data) == 0 || bytes.Equal(data, []byte("null")) }
