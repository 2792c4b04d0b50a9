package tokenrequest

import (
	"encoding"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// maxContentType bounds what is kept of an answer's media type in bytes.
const maxContentType = 200

// recorded is how an answer is written down: raw, with what it takes to read it.
type recorded struct {
	Status      int       `json:"status"`
	ContentType string    `json:"content_type"`
	Truncated   bool      `json:"cut,omitempty"`
	At          time.Time `json:"at,omitzero"`
	Body        []byte    `json:"body"`
}

// MarshalBinary writes the answer down for a journal: the status, the content type,
// the body and the time. It does not fail.
func (r *Response) MarshalBinary() ([]byte, error) {
	contentType := r.Header.Get("Content-Type")
	at := r.At.UTC()
	if at.Year() < 1 || at.Year() > 9999 { // JSON knows no other
		at = time.Time{}
	}
	return json.Marshal(recorded{r.Status, contentType[:min(len(contentType), maxContentType)], r.Truncated, at, r.Body})
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (r *Response) UnmarshalBinary(data []byte) error {
	var from recorded
	if err := json.Unmarshal(data, &from); err != nil {
		return errors.New("not a recorded token response")
	}
	*r = Response{Status: from.Status, Header: http.Header{}, Body: from.Body, Truncated: from.Truncated, At: from.At}
	if len(r.Body) > maxBody {
		r.Body, r.Truncated = r.Body[:maxBody], true
	}
	if from.ContentType != "" {
		r.Header.Set("Content-Type", from.ContentType)
	}
	return nil
}

var (
	_ encoding.BinaryMarshaler   = (*Response)(nil)
	_ encoding.BinaryUnmarshaler = (*Response)(nil)
)
