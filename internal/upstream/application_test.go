package upstream

import (
	"fmt"
	"testing"
)

func TestFetchURL(t *testing.T) {
	for text, valid := range map[string]bool{
		"https://app.example.com/credentials":         true,
		"https://app.example.com":                     true,
		"https://app.example.com/{provider}/{tenant}": true,
		"http://127.0.0.1:9000/x?t={tenant}":          true,
		"http://localhost/":                           true,
		"http://app.example.com/":                     false,
		"https://{tenant}.example.com/":               false,
		"https://{tenant}":                            false,
		"https://user:pw@app.example.com/":            false,
		"https://app.example.com/#x":                  false,
		"/credentials":                                false,
		"ftp://app.example.com/":                      false,
		"https:app.example.com":                       false,
		"":                                            false,
	} {
		if err := CheckFetchURL(text); valid != (err == nil) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Whatever the URL is, a tenant's name changes neither host nor what surrounds it.
func FuzzFetchAddress(f *testing.F) {
	f.Add("https://app.example.com/{provider}/{tenant}?a={tenant}")
	f.Add("http://localhost?{tenant}{provider}")
	f.Fuzz(func(t *testing.T, text string) {
		fetch := &Fetch{URL: text}
		one, err := fetch.address("billing", "a.b@c-1")
		two, err2 := fetch.address("billing", "z")
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, %v", err, err2)
		}
		if err != nil {
			return
		}
		if one.Host != two.Host || one.Scheme != two.Scheme || one.User != nil {
			t.Errorf("%s and %s", one, two)
		}
		if one.String() == two.String() {
			t.Error(fmt.Sprint("no tenant in ", one))
		}
	})
}
