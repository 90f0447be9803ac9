package auth

import "strings"

// canonicalPhone turns a phone number as somebody in the country would dial it into E.164 digits without the plus.
//
// Spec: client-server v1.19 §phone-number, appendices v1.19 §pstn-phone-numbers
func canonicalPhone(country, phone string) (string, bool) {
	digits, international, ok := dialledDigits(phone)
	if !ok {
		return "", false
	}
	if !international {
		code, known := callingCodes[country]
		if !known {
			return "", false
		}
		digits = code + withoutTrunkPrefix(country, code, digits)
	}
	// E.164 allows 15 digits with the country code; the shortest real ones have 7.
	if len(digits) < 7 || len(digits) > 15 {
		return "", false
	}
	return digits, true
}

// dialledDigits strips what people put between digits. A number that begins with + or 00 names its country itself.
func dialledDigits(phone string) (digits string, international, ok bool) {
	if len(phone) > 64 {
		return "", false, false
	}
	var b strings.Builder
	for i, r := range strings.TrimSpace(phone) {
		switch {
		case '0' <= r && r <= '9':
			b.WriteRune(r)
		case r == '+' && i == 0:
			international = true
		case strings.ContainsRune(" -./()\u00a0", r):
		default:
			return "", false, false
		}
	}
	digits = b.String()
	if rest, found := strings.CutPrefix(digits, "00"); found && !international {
		digits, international = rest, true
	}
	return digits, international, digits != ""
}

// withoutTrunkPrefix takes off what is dialled before national numbers only.
func withoutTrunkPrefix(country, code, digits string) string {
	prefix, special := trunkPrefixes[country]
	switch {
	case special:
	case code == "1":
		prefix = "1"
	default:
		prefix = "0"
	}
	return strings.TrimPrefix(digits, prefix)
}

// trunkPrefixes are the countries where the prefix is not 0. Where it is empty, a leading 0 belongs to the number.
var trunkPrefixes = map[string]string{
	"IT": "", "SM": "", "VA": "", "CI": "", "CG": "", "GA": "", "BJ": "",
	"HU": "06",
	"RU": "8", "KZ": "8", "BY": "8", "TM": "8",
}

// callingCodes are the ITU's country calling codes by ISO 3166-1 code. The countries of the North American plan have 1.
var callingCodes = parseCallingCodes(`
	AC247 AD376 AE971 AF93 AG1 AI1 AL355 AM374 AO244 AR54 AS1 AT43 AU61 AW297 AX358 AZ994 BA387 BB1 BD880 BE32 BF226 BG359
	BH973 BI257 BJ229 BL590 BM1 BN673 BO591 BQ599 BR55 BS1 BT975 BW267 BY375 BZ501 CA1 CC61 CD243 CF236 CG242 CH41 CI225
	CK682 CL56 CM237 CN86 CO57 CR506 CU53 CV238 CW599 CX61 CY357 CZ420 DE49 DJ253 DK45 DM1 DO1 DZ213 EC593 EE372 EG20
	EH212 ER291 ES34 ET251 FI358 FJ679 FK500 FM691 FO298 FR33 GA241 GB44 GD1 GE995 GF594 GG44 GH233 GI350 GL299 GM220
	GN224 GP590 GQ240 GR30 GT502 GU1 GW245 GY592 HK852 HN504 HR385 HT509 HU36 ID62 IE353 IL972 IM44 IN91 IO246 IQ964 IR98
	IS354 IT39 JE44 JM1 JO962 JP81 KE254 KG996 KH855 KI686 KM269 KN1 KP850 KR82 KW965 KY1 KZ7 LA856 LB961 LC1 LI423 LK94
	LR231 LS266 LT370 LU352 LV371 LY218 MA212 MC377 MD373 ME382 MF590 MG261 MH692 MK389 ML223 MM95 MN976 MO853 MP1 MQ596
	MR222 MS1 MT356 MU230 MV960 MW265 MX52 MY60 MZ258 NA264 NC687 NE227 NF672 NG234 NI505 NL31 NO47 NP977 NR674 NU683 NZ64
	OM968 PA507 PE51 PF689 PG675 PH63 PK92 PL48 PM508 PR1 PS970 PT351 PW680 PY595 QA974 RE262 RO40 RS381 RU7 RW250 SA966
	SB677 SC248 SD249 SE46 SG65 SH290 SI386 SJ47 SK421 SL232 SM378 SN221 SO252 SR597 SS211 ST239 SV503 SX1 SY963 SZ268 TA290
	TC1 TD235 TG228 TH66 TJ992 TK690 TL670 TM993 TN216 TO676 TR90 TT1 TV688 TW886 TZ255 UA380 UG256 US1 UY598 UZ998 VA39
	VC1 VE58 VG1 VI1 VN84 VU678 WF681 WS685 XK383 YE967 YT262 ZA27 ZM260 ZW263`)

func parseCallingCodes(table string) map[string]string {
	codes := make(map[string]string, 256)
	for entry := range strings.FieldsSeq(table) {
		codes[entry[:2]] = entry[2:]
	}
	return codes
}
