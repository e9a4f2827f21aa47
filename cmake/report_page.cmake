# The page of a report is src/report/page.{html,css,js}, put together here and compiled in (src/report/page.h). The data goes
# between the two halves.
set(report_page_parts page.html page.css page.js)
foreach(part IN LISTS report_page_parts)
  set(part_file ${PROJECT_SOURCE_DIR}/src/report/${part})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${part_file})
  file(READ ${part_file} part_${part})
endforeach()
set(report_page "${part_page.html}")
foreach(part page.css page.js)
  string(REPLACE "{{${part}}}" "${part_${part}}" report_page "${report_page}")
endforeach()
string(FIND "${report_page}" "{{data}}" data_at)
string(SUBSTRING "${report_page}" 0 ${data_at} ZEROPOINT_PAGE_HEAD)
math(EXPR data_end "${data_at} + 8")  # behind {{data}}
string(SUBSTRING "${report_page}" ${data_end} -1 ZEROPOINT_PAGE_TAIL)
configure_file(${PROJECT_SOURCE_DIR}/cmake/report_page.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/report_page.cpp @ONLY)
target_sources(zeropoint_report PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/report_page.cpp)
