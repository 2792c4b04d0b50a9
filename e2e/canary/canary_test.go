package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

const secret = `s3cr€t&"token"<with>/+all sorts=of_things-in:it`

func collector() *Collector {
	c := new(Collector)
	for i := range 50 {
		c.Add("another", fmt.Sprintf("another secret, number %d", i))
	}
	c.Add("the token", secret)
	return c
}

func TestScanFindsEveryEncoding(t *testing.T) {
	quoted, _ := json.Marshal(secret)
	twice, _ := json.Marshal(map[string]string{"user": secret})
	texts := map[string]string{
		"plain":           secret,
		"hex":             hex.EncodeToString([]byte(secret)),
		"upper hex":       strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query":           url.Values{"token": {secret}}.Encode(),
		"path":            (&url.URL{Path: "/x/" + secret}).EscapedPath() + url.PathEscape(secret),
		"JSON":            string(quoted),
		"JSON, no HTML":   `{"Authorization":["Bearer ` + strings.ReplaceAll(secret, `"`, `\"`) + `"]}`,
		"Go":              fmt.Sprintf("%q", secret),
		"ASCII":           fmt.Sprintf("%+q", secret),
		"basic":           base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
		"basic, longer":   base64.StdEncoding.EncodeToString([]byte("users:" + secret + "!")),
		"basic, longest":  base64.StdEncoding.EncodeToString([]byte("userss:" + secret + "!!")),
		"base64 of JSON":  base64.URLEncoding.EncodeToString([]byte("x" + secret)),
		"JSON in a map":   string(twice),
		"the first half":  secret[:len(secret)/2],
		"the second half": secret[len(secret)/2:],
	}
	c := collector()
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			leaks := c.Scan("log", []byte(`{"level":"debug","x":"`+text+`"}`))
			if len(leaks) == 0 {
				t.Error("not found")
			}
			for _, leak := range leaks {
				if leak.Source != "log" || leak.Secret != "the token" {
					t.Errorf("found %+v", leak)
				}
				if strings.Contains(leak.String(), secret[:8]) {
					t.Error("the report repeats the secret")
				}
			}
		})
	}
}

func TestScanFindsNothingElse(t *testing.T) {
	c := collector()
	noise := make([]byte, 4<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	digest := hex.EncodeToString(noise)
	for name, text := range map[string][]byte{
		"noise": noise, "hex noise": []byte(digest), "empty": nil, "short": []byte("abc"),
		"a prefix": []byte(secret[:10]), "a tenant": []byte("acme"),
	} {
		if leaks := c.Scan(name, text); len(leaks) > 0 {
			t.Errorf("found %v", leaks)
		}
	}
}

func TestScanFindsAllPlaces(t *testing.T) {
	text := bytes.Repeat([]byte(secret+"\n"), 3)
	c := new(Collector)
	c.Add("the token", secret)
	c.Add("the token again", secret)
	if c.Len() != 1 {
		t.Errorf("%d secrets", c.Len())
	}
	plain := 0
	for _, leak := range c.Scan("log", text) {
		if leak.Form == "plain text" {
			if leak.Offset != plain*(len(secret)+1) {
				t.Errorf("offset %d", leak.Offset)
			}
			plain++
		}
	}
	if plain != 3 {
		t.Errorf("found %d of 3", plain)
	}
}

func TestAddRefusesShortSecrets(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("accepted")
		}
	}()
	new(Collector).Add("pin", "1234")
}
