package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
)

// MaxRequestBody bounds a request's body in bytes: a credential and what is around it.
const MaxRequestBody = credential.MaxSize + 4<<10

// maxDrain is how much is read, in bytes, of what is beyond it.
const maxDrain = 8 << 20

// readOptional reads what [ParseJSON] does, if there is a body.
func readOptional(r *http.Request, target any) error {
	if r.Header.Get("Content-Type") != "" {
		if err := CheckJSON(r); err != nil {
			return err
		}
	}
	body, err := ReadBody(r)
	if err != nil || len(body) == 0 {
		return err
	}
	return ParseJSON(body, target)
}

// CheckJSON refuses a body that does not say that it is JSON.
func CheckJSON(r *http.Request) error {
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return ErrNotJSON
	}
	return nil
}

// ParseJSON reads a body that is one JSON object with nothing unknown in it.
func ParseJSON(body []byte, target any) error {
	if err := credential.CheckInput(body); err != nil {
		return BadRequest("the body: " + strings.TrimPrefix(err.Error(), credential.ErrInvalid.Error()+": "))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if !plainMembers(body) || decoder.Decode(target) != nil {
		return BadRequest("the body has a member that is unknown or of the wrong type")
	}
	return nil
}

// ReadBody reads a body within its bound. What is a little above it is read, too, so
// that its sender comes to read the answer.
func ReadBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxRequestBody+1))
	if err != nil {
		return nil, BadRequest("the body ended early")
	}
	if len(body) > MaxRequestBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
		return nil, errTooLarge
	}
	return body, nil
}

// plainMembers reports whether the members of an object are spelled as all that the
// APIs know. The decoder takes others for the same, and of two the last.
func plainMembers(body []byte) bool {
	plain := true
	gjson.ParseBytes(body).ForEach(func(name, _ gjson.Result) bool {
		plain = strings.Trim(name.Str, "abcdefghijklmnopqrstuvwxyz_") == ""
		return plain
	})
	return plain
}

// entityTag is the ETag of a version.
func entityTag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// precondition reads If-Match and If-None-Match (RFC 9110, section 13.1). One that is
// there and lists nothing holds for nothing: it may stand for a tag that was lost.
func precondition(header http.Header) (lifecycle.Precondition, error) {
	var p lifecycle.Precondition
	if len(header.Values("If-Match")) > 0 {
		p.Versions = []uint64{}
	}
	for value := range listed(header, "If-Match") {
		if value == "*" {
			p.Present, p.Versions = true, nil
			break
		}
		version, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 64)
		if err != nil || entityTag(version) != value {
			version = 0 // a tag that no version has
		}
		p.Versions = append(p.Versions, version)
	}
	if p.Absent = len(header.Values("If-None-Match")) > 0; p.Absent && header.Get("If-None-Match") != "*" {
		return p, BadRequest("If-None-Match takes * alone")
	}
	return p, nil
}

// listed returns the members of a list header.
func listed(header http.Header, name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range header.Values(name) {
			for value := range strings.SplitSeq(line, ",") {
				if value = strings.TrimSpace(value); value != "" && !yield(value) {
					return
				}
			}
		}
	}
}
