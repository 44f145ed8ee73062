"""Detects failure in plain English text and in the output of programs, with a table of kinds of failure.

Programs report failure in a few formats, which are reliable at the beginning of answers of any length. Services report
failure in sentences. The same words occur in the articles, logs and reviews that tools return as data, so a sentence
counts only if it is (almost) the whole answer: the kinds in `SENTENCES` have a maximum length, and `_NOT_FAILURES`
matches short answers that merely resemble them. Patterns match lower-cased text from its beginning, unless a kind says
otherwise, and have no nested repetition, so their running time is bounded by the length of the text.
"""

from __future__ import annotations

import re

from tltrain.audit.kinds import Kind, excerpt, kind
from tltrain.audit.languages import failure_in_other_language

HEAD, TAIL = 4_000, 1_500
"""Number of characters searched at the beginning and at the end of a text, where an exception may also be reported."""
ANY = HEAD + TAIL + 1

_REASON = (
    "(?:bad request|unauthori[sz]ed|payment required|forbidden|not found|method not allowed|not acceptable|"
    "request timeout|conflict|gone|precondition failed|payload too large|unsupported media type|"
    "unprocessable (?:entity|content)|too many requests|internal server error|not implemented|bad gateway|"
    "service (?:temporarily )?unavailable|gateway time-?out)"
)
_INPUT = (
    r"(?:api|access|auth\w*|tool|function|action|method|operation|command|endpoint|service|request|input|output|"
    r"param\w*|arg\w*|options?|flags?|fields?|values?|formats?|types?|date|time|timestamp|key|token|user\w*|pass\w*|"
    r"credentials?|ids?|identifiers?|names?|number|index|code|currency|country|city|location|language|latitude|"
    r"longitude|coordinates?|url|uri|path|file|json|xml|yaml|syntax|query|response|symbol|ticker|category|genre|"
    r"units?|account|customer|e-?mail|address|phone|zip|postcode|range|character|page|limit|column|table|header|"
    r"body|payload|signature|session|client|credit|content|encoding|region|resource|object|entry|property|"
    r"attribute|call)"
)
_NAME = r"['\"`]?[\w.\[\]-]{1,40}['\"`]?"
_QUOTED = r"['\"`][\w.-]{1,40}['\"`]"
_WRONG = (
    r"(?:required|missing|mandatory|too (?:long|short|large|big|small|high|low)|out of (?:range|bounds)|invalid|"
    r"incorrect|malformed|unknown)"
)
_ACTOR = r"(?:we|you|it|the (?:server|service|request|system|tool|api|database|operation|application|model))"
_PAST_NOT = r"(?:cannot|can't|(?:could|can|were|are|was|is|do|did|does|have|has|had)(?: ?not|n['’]t| never))"
_PERFORM = (
    r"(?:help|find|process|complete|access|understand|perform|do that|assist|fulfil|provide|answer|parse|retrieve|"
    r"locate|recogni[sz]e|support|execute|open|read|reach|connect)"
)

PROGRAMS = (
    kind(
        "bare key of a KeyError",
        r"'[^'\s]{1,60}(?: [^'\s]{1,30}){0,2}(?<![.!?,])'$",
        longest=100,
        cased=True,
        needs="'",
    ),
    kind(
        "exception",
        r"(?:[Uu]ncaught |[Uu]nhandled |Exception in thread \"[^\"]*\" |[Ee]rror: )?[A-Za-z_][\w.$]{0,100}"
        r"(?:Error|Exception|Failure|Timeout|Interrupt)(?:: |:$|\(['\"(]|\n|$| (?:when|while) )",
        r"(?:.{0,40}\b)?(?:[Ee]xception|EXCEPTION)(?: (?:occurred|raised|thrown|caught|while|during|in|when)\b|: )",
        r"[Uu]nhandled exception\b|StopIteration$|.{0,60}\b(?:raised|threw) an? (?:exception|error)\b",
        r"panic: |thread '[^']*' panicked at |.{1,300}\([A-Z]\w{1,60}(?:Error|Exception)\)$",
        longest=ANY,
        cased=True,
        needs="error|exception|failure|timeout|interrupt|stopiteration|panic",
    ),
    kind(
        "stack trace",
        r"(?m:^Traceback \(most recent call last\))|\n[ \t]{1,8}at [\w.$<>]+ ?\(",
        longest=ANY,
        cased=True,
        within=True,
        needs="traceback (|at ",
    ),
    kind(
        "HTTP status",
        r"(?:http(?:/\d(?:\.\d)?)?|(?:http )?status(?: ?code)?|(?:http )?error(?: code)?|response(?: code)?)"
        r"[ :=(]{1,3}[45]\d\d\b|error code: \d{3,}",
        rf"[45]\d\d\b[ :,-]{{1,3}}(?:client error|server error|error\b|{_REASON})|{_REASON}[.!]?$",
        r".{0,300}\bstatus(?:[ _]?code)?[ :=]{1,3}(?:of )?[45]\d\d\b",
        r".{0,80}\b(?:received|returned|responded with|replied|got|answered)(?: an?| with)?(?: http)?(?: status)?"
        rf"(?: code)? [45]\d\d {_REASON}",
        longest=ANY,
        needs=(
            "http|status|error|response|4|5|bad re|authori|payment|forbidden|not found|not allowed|"
            "not acceptable|timeout|conflict|gone|precond|payload|media|unprocess|too many|internal|not impl|"
            "gateway|unavail"
        ),
    ),
    kind(
        "shell error",
        r"[^\s:('\"]{1,60}: (?:[^:\n]{1,60}: ){0,2}(?:command not found|no such file or directory|permission denied|"
        r"cannot \w|unrecognized option|(?:invalid|illegal|unknown) option|missing (?:\w+ ){0,3}operand|"
        r"could not resolve|unable to|operation not permitted|is a directory|not a directory|syntax error|not found|"
        r"no such|no matching|connection (?:refused|timed out|reset)|option .{1,40} is required|\(\d+\) )",
        r".{0,100}\bis not recognized as an internal or external command",
        r"(?:npm|pnpm|yarn) err!|make(?:\[\d+\])?: \*\*\*|fatal: |e: unable|ssh: |docker: |[\w.-]+: error: ",
        r".{0,80}\bexit(?:ed)?(?: with)?(?: an?)?(?: non-zero)?(?: exit)?(?: status| code)[ :=]{1,2}-?[1-9]",
        r"usage: [^\n]*\n[\s\S]{0,500}error: |[^\n]{0,200}\nusage: |[^\n]{0,200}\ntry '[^'\n]+ --help'",
        r"segmentation fault|.{0,60}\(core dumped\)|killed$|out of memory|.{0,60}\bdirectory not empty",
        longest=ANY,
        needs=": |recognized|err!|make|exit|usage|try |segm|core dumped|killed|out of memory|not empty",
    ),
    kind(
        "database error",
        r".{0,60}\bsyntax error|.{0,60}\berror in your sql syntax|"
        r"no such (?:table|column|function|view|index|database)\b|"
        r"(?:ora|sqlstate|pls)[-\[ (]{1,2}\w{5}|error \d{4} \(|msg \d+, level \d+|duplicate (?:key|entry)\b",
        r".{0,60}\bconstraint (?:failed|violat)|.{0,60}\bviolates .{0,40}constraint",
        r".{0,60}\b(?:relation|table|column|view|database|schema|collection)\b.{0,80}(?:does not exist|doesn't exist)",
        longest=ANY,
        needs="syntax|no such|ora-|sqlstate|pls-|error|level|duplicate|constraint|exist",
    ),
    kind(
        "remote call error",
        r".{0,60}\brpc error: code|.{0,80}\bstatuscode\.(?!ok\b)|mcp error|json-?rpc error",
        longest=ANY,
        needs="rpc|statuscode|mcp",
    ),
    kind(
        "error text",
        r"\W{0,4}(?:(?:an?|the|there (?:was an?|were)|tool|api|http|system|server|internal|fatal|runtime|execution|"
        r"network|database|request|response|message|unexpected|unknown|client|input|parsing|parse|type|value|"
        r"connection|timeout|validation|authentication|authorization|permission|syntax|critical|math|domain|"
        r"calculation|processing|read|write|disk|memory|protocol|service) ){0,4}"
        r"errors?\b(?! (?:message|code|rate|handling|log|bar|page)s?\b|-free|s?:? ?(?:found: ?)?(?:0|none|no|\[\])\b)"
        r"(?:\]|:|!|,| [-–]|$|\.$|\.\.\.| (?:has (?:been|occurred)|occurred|executing|while|when|during|from|calling|"
        r"in (?:tool|function|the)|fetching|processing|getting|parsing|running|connecting|tokenizing|response|"
        r"retrieving|loading|reading|accessing|converting|\d))",
        r"(?:[\w'/.()-]+:? ){0,4}error: (?!-?[\d.]+\s*(?:$|%|,))\S|\W{0,2}error(?:\)| [a-z]{1,4}\d{1,5}:)",
        longest=ANY,
        needs="error",
    ),
)
"""Output formats of programs; detected in answers of any length unless a kind has a maximum."""

SENTENCES = (
    kind(
        "exception text",
        r"\w+\(\) (?:got an? |missing \d|takes )|\bunexpected keyword argument|\bname '\w+' is not defined",
        r"object (?:has no attribute|is not (?:callable|iterable|subscriptable)|does not support)|\bunhashable type",
        r"\bis not json serializable|\b(?:index|indices)\b.{0,12} (?:out of (?:range|bounds)|must be integers)",
        r"\bcould not convert |\binvalid literal for |\bexpecting (?:value|property name|',' delimiter)",
        r"\breferenced before assignment|^(?:integer |float )?(?:division|modulo)(?: or modulo)? by zero",
        r"\[errno -?\d+\]|\[winerror \d+\]|\bmax retries exceeded|\bunsupported operand|\bmaximum recursion depth",
        r"\bvalues to unpack|\d+ validation errors? for |\bdoes not match format|^no module named |"
        r"^cannot import name ",
        r"\bcodec can't (?:de|en)code|^can only concatenate|\bundefined method `|\bnullpointer|\bread timed out",
        r"\bline \d+ column \d+ \(char \d+\)|^unconverted data remains|\bconnection aborted\.|\bremote end closed",
        r"cannot (?:read|set) propert\w+ of (?:undefined|null)|\bis not a function$|\bbroken pipe\b",
        longest=1_500,
        within=True,
        needs=(
            "()|argument|defined|object|serializ|out of|must be int|convert|literal|expecting|referenced|"
            "division|modulo|unhashable|errno|winerror|retries|operand|recursion|unpack|validation error|format|"
            "module|import|codec|concatenate|method|nullpointer|timed out|column|unconverted|aborted|remote|"
            "cannot|function|pipe"
        ),
    ),
    kind(
        "rate limit",
        r".{0,80}\b(?:rate|request|usage|quota|call|query|daily|monthly|api|length|size|plan)[- ]limit(?:s|ing|ed)?\b"
        r"(?:\W*$|.{0,20}(?:exceed|reach|hit\b|apply|applies))",
        r".{0,60}\btoo many (?:\w+ )?(?:requests|calls|attempts|queries|connections)",
        r".{0,60}\b(?:are|is|been|was) (?:being )?throttl|.{0,30}\bquota_?exceeded|"
        r".{0,80}\bquota\b.{0,30}(?:exceed|reached|exhaust)",
        r".{0,40}\byou(?:'ve| have|r \w+ has)? (?:exceeded|reached|used up|run out|hit)\b",
        r".{0,60}\b(?:limit|cap|quota|maximum(?: \w+){0,4}) (?:has been |was |is )?(?:reached|exceeded|exhausted)\b",
        r".{0,40}(?<!not )(?<!not to )\bexceed(?:s|ed|ing)? (?:the|your|its) .{0,40}(?:limit|quota|maximum)",
        r"(?=.{0,400}(?:premium|subscribe|upgrade)).{0,200}(?:rate limit|call frequency|requests per|calls per)",
        longest=500,
        needs="limit|many|throttl|quota|exceed|reached|used up|run out|hit|exhaust|frequency|requests per|calls per",
    ),
    kind(
        "request to correct",
        r".{0,160}(?<!to )\bplease,? (?:\w+ly |also |either |first |re-?)?(?:provide|specify|supply|enter|retry|"
        r"try again|correct|log ?in|sign in|subscribe|upgrade|authenticate|fill in|pass|call again|include|wait|"
        r"reduce|rephrase|(?:give|use) (?:a|an|the|me|one of|only)\b|(?:check|verify|review|fix|change|ensure|contact|"
        r"visit) )(?!.{0,60}\b(?:inbox|receipt|thank|enjoy)\b)",
        r".{0,160}\b(?:and|then|,|or) (?:try|call|send it|submit)(?: it| this)? again\b|try again\b|"
        r".{0,160}\btry again (?:later|in|with|after|using)\b|.{0,120}\bdid you mean\b|.{0,60}\bdid(?: not|"
        r"n't) understand",
        r"(?:the |an? |your )?(?:invalid|unrecogni[sz]ed|unsupported|unexpected|malformed|undefined|illegal|"
        r"incompatible|insufficient)[ :]+.{1,120}$",
        r"(?:the |an? |your )?(?:unknown|missing|bad|wrong|incorrect|ambiguous|duplicate|expired|incomplete|empty|"
        rf"too (?:many|few)|not enough)[ :]+(?:\S+ ){{0,3}}{_INPUT}\b|missing[: ]+['\"`]",
        r"(?:the |an? |your )?(?:unknown|unrecogni[sz]ed) (?:\w+ ){1,2}['\"]?\S+['\"]?(?:[,.].{0,80})?$",
        rf"(?:the |your |required |query )?(?:{_INPUT} )?(?!you |we |they |he |she ){_NAME}:?(?: {_INPUT})? "
        r"(?:must|should|needs to|has to) (?:not )?(?:be (?!able|aware|careful|at the|there|here|made|used|taken)|"
        r"have (?:a|an|at|one|exactly)\b|contain|match|start|end|come after|lie|supply|equal)",
        rf"(?:the |your )?(?:{_INPUT} )?(?:\w+ ){{0,2}}{_NAME} (?:cannot|can not|can't|may not|must not) be "
        r"(?:empty|null|blank|negative|zero|greater|less|lower|higher|in the|before|after|longer|shorter)\b",
        rf".{{0,80}}\b{_INPUT}(?: {_NAME})? (?:is|are|was) (?:{_WRONG}|empty|expired|wrong|not )",
        rf"(?:.{{0,80}}\W)?{_QUOTED} (?:is|are) (?:{_WRONG}|not |a required)|{_NAME} (?:is|are) {_WRONG}\b",
        rf".{{0,60}}\b{_INPUT} (?:missing|required)[.!]?$|.{{0,60}}\bhas (?:the|a) wrong\b|"
        rf"additional propert\w+ are not",
        r"(?:argument|parameter|field|value|option|property) \S+ (?:expected|expects|requires|lacks|was expected)",
        rf".{{0,80}}\brequires (?:the |an? )?(?:\w+ )?{_INPUT}\b|.{{0,30}}hallucinat|amount of .{{1,60}} exceeds",
        r"you (?:need to|have to|must)(?: first)? (?:pass|provide|specify|give|supply|set|be logged|log in|sign)",
        r"(?:provide|specify|supply) (?:at least|an?|the|one|either|both)\b|i need .{1,60} (?:before|to|in order)",
        r"(?:could not|couldn't|cannot|failed to|unable to) (?:parse|read|decode|understand|interpret)\b",
        r".{0,120}\b(?:expected|expects) .{1,60}(?:\bbut |, )(?:got|received|found|was|is)\b|.{0,80}\bmust be one of|"
        r".{0,80}\b(?:(?:allowed|valid|available|supported) (?:values|options|tools|functions)) ?(?:are|is|:)",
        r".{0,80}\b(?:is|are) not (?:a |an )?(?:valid|recogni[sz]ed|known|proper|correct|one of|in the list|in \[|"
        r"a field|a parameter|number|integer|string|list|object|date|boolean)\b",
        r".{0,80}\b(?:is|are) not (?:allowed|accepted|permitted)(?:[.,;:!]|$| (?:for this|for the|here|with this|"
        r"as)\b)",
        r"(?:required|mandatory) (?:\w+ )?(?:parameter|argument|field|propert\w+|option|input)s?\b",
        r"no (?:query|input|arguments?|parameters?) (?:was |were )?(?:given|provided|specified)",
        r"(?!your (?:search|query)|the (?:search|query)).{0,60}\b(?:does|did) not match any\b",
        r"(?:\w+ ){1,4}too (?:large|long|big|short|small)[.!]?$",
        longest=400,
        needs=(
            "please|again|mean|understand|invalid|recogni|unsupported|unexpected|malformed|undefined|illegal|"
            "incompatible|insufficient|unknown|missing|bad|wrong|incorrect|ambiguous|duplicate|expired|"
            "incomplete|empty|too |not |must|should|needs to|has to|can't|require|mandatory|out of|expect|lacks|"
            "hallucinat|exceeds|need|have to|provide|specify|supply|parse|read|decode|interpret|allowed|valid|"
            "available|supported|match"
        ),
    ),
    kind(
        "refusal",
        r"(?:the |your |this )?(?:access|permission|request|operation|transfer|payment|connection|authori[sz]ation|"
        r"authentication|login|"
        r"transaction|order|booking|refund|call|query|action|card)(?: \w+){0,2} (?:was |is |has been |have been |"
        r"were )?(?:denied|refused|rejected|declined|forbidden|failed|timed out)\b",
        r"(?:your|this|the) \w+(?: \w+){0,2} (?:was|is|has been|have been|were) (?:denied|refused|rejected|declined|"
        r"forbidden|blocked|aborted|disabled|suspended|revoked|expired|deprecated|no longer)\b(?! (?:by|in|on)\b)",
        r"(?:we(?:'re| are) |i(?:'m| am) )?sorry[,.:!]? (?:but |that |for )?(?:we|i|you|the|this|that|it|there|no|your|"
        r"pal|could|can|an|something|access|page|service|unable|inconvenience)\b|(?:oops|unfortunately|regrettably)\b",
        rf"(?:sorry, )?{_ACTOR} (?:{_PAST_NOT}|(?:were |are |was |is |'re )?(?:unable|not able|failed|having trouble))",
        r"(?:sorry, )?(?:but )?i(?:['’]m| am)? (?:cannot|can't|could not|couldn't|unable to|not able to|do not|don't|"
        rf"did not|didn't) (?:\w+ )?{_PERFORM}\b",
        r"(?:failed|unable|cannot|can't|couldn't|could not|can not|impossible)(?: to)?:? \w",
        r"(?:[\w-]+ ){1,4}(?<!not )failed(?:[:.!,;]| (?:to|because|due|with|after|as)\b|$)",
        r".{0,80}\b(?:is|are|was|were|has|have|does|do|did|could|can|should|must|may|will)(?: not|n['’]t|"
        r"not)(?: been| be)? "
        r"(?:\w+ly )?(?:supported|authori[sz]ed|authenticated|subscribed|available|implemented|enabled|configured|"
        r"accessible|reachable|possible|enough|included|include|part of|have (?:access|permission)|completed|processed|"
        r"sent|created|provided|given|sufficient|offer|eligible|respond|cancell?ed|connect|exist|found)\b",
        r"(?:[\w'#-]+ ){0,5}not (?:supported|authori[sz]ed|permitted|allowed|implemented|available|accepted|successful|"
        r"resolved|delivered|reachable|ready|loaded|saved|sent|connected|created|processed|completed|recogni[sz]ed|"
        r"responding|configured|installed|logged in|authenticated)[.!]?$|(?:[\w'#-]+ ){0,5}not authori[sz]ed\b",
        r"(?:[\w'#-]+ ){1,4}could not be \w+|(?:the |your |this )?(?:[\w'#-]+ ){1,2}(?:cannot|"
        r"can not) be \w+ed\b.{0,60}$",
        r".{0,80}(?<!that )\balready (?:exists?|taken|in use|registered|booked)\b|.{0,60}\bunsuccessful",
        r".{0,60}\b(?:temporarily|currently|presently) (?:unavailable|disabled|offline|down|out of service)|"
        r".{0,60}\b(?:under|for|down for|in) maintenance\b|.{0,60}\bwent wrong\b",
        r".{0,60}\b(?:is|are) (?:currently |temporarily )?(?:overloaded|unreachable|unresponsive|not responding)",
        r".{0,40}\btimed? ?-?out\b[.!]?(?:$|: (?!\d)| after| while| waiting)|.{0,40}\btimeout (?:of )?\d+ ?m?s\b|"
        r".{0,60}\b(?:session|token|key|link|code)\b.{0,20} (?:has |is |was )?expired",
        r".{0,40}\b(?:login|log-?in|authentication|payment|authorization|subscription|(?:an )?api key|credentials?)"
        r"(?: is| are)? (?:required|needed|missing)",
        r".{0,60}\brequires (?:[\w-]+ ){0,3}(?:rights|permissions?|privileges|access|role|scope|authentication|"
        r"login|plan)\b",
        r"(?:connection|network|socket) (?:error|refused|reset|aborted|closed|lost|timeout)|"
        r"no (?:response|answer) from |no route to |not enough \w+",
        r"only (?:the |an? )?(?:[\w-]+ ){1,6}(?:can|may|are allowed|is allowed) |.{0,40}\bdisabled for your |"
        r"you lack\b",
        r".{0,40}\bno (?:rights|permission|access|quota)\b|.{0,80}\byou (?:have been|are|were) (?:blocked|banned)",
        longest=400,
        needs=(
            "denied|refused|rejected|declined|forbidden|failed|out|blocked|aborted|disabled|suspended|revoked|"
            "expired|deprecated|no longer|sorry|oops|unfortunately|regrettably|not|n't|n’t|never|unable|trouble|"
            "can|impossible|could|exists|taken|use|registered|booked|unsuccessful|unavailable|offline|down|"
            "maintenance|wrong|overloaded|unreachable|unresponsive|require|needed|missing|connection|network|"
            "socket|no |only|lack|banned"
        ),
    ),
    kind(
        "not found",
        r"(?:the |an? |this |that |requested |your |any ){0,3}(?:[\w#@'\"/.:-]+ ){0,7}"
        r"(?:(?:is|was|were|could|has|have|can) ?(?:not|n't)(?: be| been)?|not) found\b.{0,60}$",
        r".{0,80}\b(?:does not|doesn't|do not|don't|did not) exists?\b.{0,40}$|(?:there (?:is|are|was|"
        r"were) )?no such \w",
        r"(?:there (?:is|are|was) )?no (?:\w+ ){1,3}(?:with (?:that|this|the|an?|id|name|number|code)|named|called|"
        r"by (?:that|the) name|exists?|of that name|for (?:that|the) (?:id|name))\b",
        r"no (?:\w+ ){0,2}\w*[^\Ws] (?:was |could be |is )?(?:found|available)[.!]?"
        r"(?: (?:for|matching|with|by|in|at|named)\b.{0,60})?$",
        r"(?:there (?:is|was) )?no (?:\w+ ){0,2}\w*[^\Ws] (?:matched|matches|registered|named|with|called|under)\b",
        rf"no (?:\w+ ){{0,3}}(?:data|information|info|record|result|price|quote|entry) (?:is |was )?(?:available |"
        rf"found )?"
        rf"for (?:the |this |that )?{_INPUT}\b|there (?:is|are|was) no (?:[\w-]+ ){{1,3}}[\w-]*\d[\w-]*[.!]?$",
        r"(?:we |i |it )?(?:could not|couldn't|can't|cannot|can not|unable to|did not|didn't|failed to) "
        r"(?:find|locate|identify|match)\b",
        longest=200,
        needs="found|exist|no |available|match|find|locate|identify",
    ),
    kind(
        "short answer that says no",
        r"(?!.{0,100}\b(?:that|0 failed)\b)(?:[^.!?\n\"(={}]{1,70}[^\w.!?\n\"(={}])?(?:invalid|unable|(?<!\d )failed|"
        r"failure|(?<=\w )(?:denied|rejected|refused|declined)(?! (?:\d|the |in |by ))|expired|unsupported|"
        r"unauthori[sz]ed|unavailable|not available|overflow|out of (?:range|bounds)|malformed|incorrect|mismatch|"
        r"(?<=: )(?:cannot|can['’]t|could not|couldn['’]t)|(?<=account )is locked|hang up|\w+_verify_failed|"
        r"not in service|not in (?:our|the) (?:database|catalog\w*|list|system)|"
        r"e(?:conn(?:refused|reset|aborted)|notfound|noent|timedout|ai_again|pipe|acces|perm|exist))\b[^\"({}]{0,50}$",
        longest=100,
        needs=(
            "invalid|unable|failed|failure|denied|rejected|refused|declined|expired|unsupported|unauthori|"
            "unavailable|not |overflow|out of|malformed|incorrect|mismatch|can|could|locked|hang|verify|econn|"
            "enot|enoent|etimed|eai|epipe|eacces|eperm|eexist"
        ),
    ),
)
"""Sentences with which services report failure; detected only if they are the whole answer."""

_QUOTED_TEXT = re.compile(
    r"(?:the |your )?(?:translat\w+|definitions?|synonyms?|antonyms?|meaning|examples?|quote|titles?|headlines?|"
    r"summary|abstract|"
    r"lyrics|category|sentiment|subject|plot|reviews?|user|the user says)(?: (?:of|for|from|in|"
    r"to) [\w'\"]{1,30}){0,2}(?: is)? ?:"
)
_NOT_FAILURES = re.compile(
    # source code, definitions, dated facts, rules, lists of findings
    r"(?://|/\*|#!|def |class |import |from \w+ import|const |let |var |function |select |if \(|try:|print\(|"
    r"assert |return )|"
    r"(?!.{0,60}\b(?:required|invalid|unknown|unsupported|not)\b)[\w .,'!()-]{1,80} (?:is|are|was|were) (?:an?|the) "
    r"(?!error|problem|conflict)|.{0,80}\bin (?:1[89]|20)\d\d\b|(?:to|if|when) [^.,]{1,80}, please |"
    r"(?:found )?\d+ (?:problems?|errors?|issues?|warnings?)\b|"
    # a person's answer to a question
    r"q: |(?:.{0,40}\b)?(?:i (?:don't|do not|can't|cannot)(?! (?:\w+ )?(?:find|help|process|complete|access|understand|"
    r"perform|open|read))|i would|i will|i'd|my|me)\b|"
    # confirmations
    r"(?:(?!not )[\w'-]+ ){1,4}(?:added|filed|recorded|marked|saved|closed|removed|changed|resolved|logged(?! in)|"
    r"renamed)\b(?! (?:because|:))|rule created|.{0,80}(?<!not )\b(?:success(?:fully)?|succeeded|as requested|"
    r"(?:was|were|has been|have been) (?:recorded|filed|added|noted|logged|forwarded))\b|"
    # no errors, nothing found
    r".{0,60}\b(?:no|0|zero|without(?: any)?) (?:\w+ )?(?:errors?|issues|problems|failures|warnings)\b|"
    r".{0,40}\bno (?:\w+ ){0,2}(?:results?|records?|matches|entries|rows|items|documents)\b(?! (?:with|\w+ [\w'#.]))"
)
_CODE = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|[A-Z]{5,40}")
_CODE_WORD = re.compile(
    r"error|invalid|denied|forbidden|unauthori[sz]ed|unauthenticated|exceeded|over_query|over_\w*limit|missing|"
    r"not_?found|nosuch|expired|unsupported|timeout|timed_out|unavailable|failed|failure|exception|conflict|rejected|"
    r"bad_?request|too_?many|throttl",
    re.IGNORECASE,
)


def text_failed(text: str) -> str | None:
    """Why a plain text (stripped) reports failure: the kind and an excerpt; None if it does not."""
    if len(text) > ANY:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    lowered = text.lower()
    if _QUOTED_TEXT.match(lowered):
        return None
    found = _first(PROGRAMS, text, lowered)
    if found is None:
        found = _first(SENTENCES, text, lowered) or failure_in_other_language(text, lowered)
        if found is None or _NOT_FAILURES.match(lowered):
            return None
    return f"{found.name}: {excerpt(text)}"


def _first(kinds: tuple[Kind, ...], text: str, lowered: str) -> Kind | None:
    for kind_ in kinds:
        if kind_.matches(text, lowered):
            return kind_
    return None


def code_failed(text: str) -> str | None:
    """Why a code word (`OVER_QUERY_LIMIT`, `AccessDenied`) means failure; None for other texts."""
    if len(text) <= 60 and _CODE.fullmatch(text) and _CODE_WORD.search(text):
        return f"error code: {text}"
    return None
