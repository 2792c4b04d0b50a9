package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// ReservedField is the key of the document in which the refresh protocol keeps
// its own state. Schemas, templates and answers see the document without it, and
// input that contains it is refused.
const ReservedField = "_upstream_auth"

// Limits of a document. What a provider needs for a tenant is a handful of
// short strings; a stored document is hostile input like any other.
const (
	MaxSize  = 1 << 20 // bytes
	maxDepth = 64      // nested objects and arrays

	// maxReserved is how often the reserved key may be repeated: each costs a
	// copy of the document.
	maxReserved = 8
)

// ErrInvalid says that a document cannot serve as a credential: it is no JSON
// object, it breaks its schema, or it lacks a field that its scheme needs.
var ErrInvalid = errors.New("credential is not valid")

// FieldError is an [ErrInvalid] that names the field. It never holds the value.
type FieldError struct {
	Path   string // gjson path of the field, as the configuration spells it
	Reason string // what is wrong with it: "is missing"
}

func (e *FieldError) Error() string { return fmt.Sprintf("field %q %s", e.Path, e.Reason) }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// Credential is the JSON object that a provider needs for one tenant, as read
// from a store. It is never changed once made, so that any number of requests
// can share it.
type Credential struct {
	stored    []byte // the document as stored
	reserved  bool   // ReservedField is in there
	version   uint64
	writtenAt time.Time

	memo atomic.Pointer[memo]
}

// New makes a credential of a stored document. The error is an [ErrInvalid] that
// does not quote the document.
func New(doc Document) (*Credential, error) {
	if err := checkObject(doc.Data); err != nil {
		return nil, err
	}
	c := &Credential{stored: doc.Data, version: doc.Version, writtenAt: doc.WrittenAt}
	visible, err := withoutReserved(doc.Data)
	if err != nil {
		return nil, err
	}
	c.reserved = len(visible) != len(c.stored)
	return c, nil
}

// withoutReserved returns a document without ReservedField, itself if that is not there.
func withoutReserved(document []byte) ([]byte, error) {
	// The escaped spelling of the key is the same key to a JSON parser, so ask
	// one rather than searching for the bytes.
	for n := 0; gjson.GetBytes(document, ReservedField).Exists(); n++ {
		if n == maxReserved {
			return nil, fmt.Errorf("%w: %s is there too often", ErrInvalid, ReservedField)
		}
		without, err := sjson.DeleteBytes(bytes.Clone(document), ReservedField)
		if err != nil || len(without) >= len(document) {
			return nil, fmt.Errorf("%w: cannot separate %s", ErrInvalid, ReservedField)
		}
		document = without
	}
	return document, nil
}

// is reports whether c, which may be nil, is what New would make of doc.
func (c *Credential) is(doc Document) bool {
	return c != nil && c.version == doc.Version && c.writtenAt.Equal(doc.WrittenAt) && bytes.Equal(c.stored, doc.Data)
}

// Version is the store's version of the document.
func (c *Credential) Version() uint64 { return c.version }

// WrittenAt is when the store took this version, zero if it does not say.
func (c *Credential) WrittenAt() time.Time { return c.writtenAt }

// JSON is the document without [ReservedField]. The caller does not change it. It is made
// anew by each call, since what is made of a credential for requests is kept instead.
func (c *Credential) JSON() []byte {
	if !c.reserved {
		return c.stored
	}
	visible, _ := withoutReserved(c.stored) // New has tried it.
	return visible
}

// Stored is the document as it was read, [ReservedField] included. The caller
// does not change it.
func (c *Credential) Stored() []byte { return c.stored }

// Get returns the value at a gjson path, which does not exist if nothing is there.
func (c *Credential) Get(path string) gjson.Result {
	if isPlain(path) {
		return gjson.GetBytes(c.stored, path) // spares a copy
	}
	return gjson.GetBytes(c.JSON(), path)
}

// isPlain reports whether a gjson path names one place, and that is not under
// [ReservedField].
func isPlain(path string) bool {
	if strings.HasPrefix(path, ReservedField) {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// Text returns the string, number or boolean at a gjson path as text. A missing,
// null or composite value is a [FieldError].
func (c *Credential) Text(path string) (string, error) {
	value := c.Get(path)
	switch value.Type {
	case gjson.String:
		return value.Str, nil
	case gjson.Number:
		// As written: 12345678901234567890 must not become 1.2345678901234567e+19.
		return strings.TrimSpace(value.Raw), nil
	case gjson.True, gjson.False:
		return value.Raw, nil
	case gjson.Null:
		if value.Exists() {
			return "", &FieldError{Path: path, Reason: "is null"}
		}
		return "", &FieldError{Path: path, Reason: "is missing"}
	default:
		return "", &FieldError{Path: path, Reason: "is not a string, number or boolean"}
	}
}

// checkObject reports whether data is one JSON object within the limits.
func checkObject(data []byte) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%w: larger than %d bytes", ErrInvalid, MaxSize)
	}
	if DeeperThan(data, maxDepth) {
		return fmt.Errorf("%w: nested deeper than %d", ErrInvalid, maxDepth)
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: not JSON", ErrInvalid)
	}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); trimmed[0] != '{' {
		return fmt.Errorf("%w: not a JSON object", ErrInvalid)
	}
	return nil
}

// DeeperThan reports whether JSON text is nested deeper than limit, before a recursive
// reader sees it.
func DeeperThan(data []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
